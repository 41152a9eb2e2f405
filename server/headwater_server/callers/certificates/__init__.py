"""Callers that are known by the certificates of their connections."""
