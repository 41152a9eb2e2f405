"""The callers that a server lets in, and their tokens."""
