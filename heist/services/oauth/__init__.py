"""The authorization server: OAuth 2.0 client credentials, for the crew in process and for clients from outside."""
