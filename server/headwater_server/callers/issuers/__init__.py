"""Issuers of JWT: their keys, and the check of their tokens."""
