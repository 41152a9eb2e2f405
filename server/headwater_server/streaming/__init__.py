"""The way of a reply through the server: from a provider's events to chunks for one reader."""
