"""The provider type `anthropic`."""
