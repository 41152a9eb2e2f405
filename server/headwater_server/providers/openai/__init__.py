"""The provider type `openai`: Chat Completions and Responses."""
