"""What a stream does with time: it is measured, and ends where its provider or its reader is silent for too long."""
