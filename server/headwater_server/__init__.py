"""The Headwater server: bridges gRPC streams to providers of language models."""
