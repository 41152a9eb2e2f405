"""The provider type `local`: the embedded model."""
