"""What a workflow may look like: its graph and its conditions."""
