"""Evaluates conditions and placeholders in a helper process, which can be stopped."""
