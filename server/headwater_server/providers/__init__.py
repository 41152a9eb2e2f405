"""Adapters from the server's domain to the providers' wire formats."""
