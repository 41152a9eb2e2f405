"""The client's use of gRPC: channels, the thread for synchronous calls, errors."""
