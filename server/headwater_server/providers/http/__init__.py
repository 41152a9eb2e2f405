"""Providers that are asked over HTTP: the client, the provider, its list of models."""
