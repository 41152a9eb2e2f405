"""Workflows: their definitions, the engine that runs them, the journal that keeps them, the workers of their steps."""
