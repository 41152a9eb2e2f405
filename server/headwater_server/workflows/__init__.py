"""Workflows: what runs when, what is remembered of it, and who may watch."""
