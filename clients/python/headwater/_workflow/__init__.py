"""Workflows of the Python client: definitions, runs and what is seen of them."""
