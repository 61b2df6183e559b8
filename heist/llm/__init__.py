"""Language models: one protocol, and who can speak it."""
