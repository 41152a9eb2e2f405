"""The provider type `scripted`."""
