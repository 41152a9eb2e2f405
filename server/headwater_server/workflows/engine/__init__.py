"""The engine that runs workflows: scheduler, runs and their log."""
