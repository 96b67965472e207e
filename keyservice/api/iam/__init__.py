"""Tokens for machines: OAuth2 client credentials, and the public keys of what it issues."""
