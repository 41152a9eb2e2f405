"""The provider type `ollama`."""
