"""Workflows: definitions, the engine that runs them, the journal that keeps them, and their workers."""
