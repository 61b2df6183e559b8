"""The tools: each declared once, called through one registry that asks for the scope first."""
