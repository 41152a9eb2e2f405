"""The rules for the definition of a workflow: its graph and its conditions."""
