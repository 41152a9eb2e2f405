"""Addresses in requests of callers: a provider may fetch them, so they must not lead into a private network."""
