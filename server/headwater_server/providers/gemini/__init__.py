"""The provider type `gemini`: Google's own API, at the Gemini API and at Vertex AI."""
