"""The times of a stream: its measures, and its end where the provider or the reader is silent for too long."""
