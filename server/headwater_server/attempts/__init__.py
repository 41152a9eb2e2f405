"""Which model is asked for a reply, and what happens when it fails before the first chunk."""
