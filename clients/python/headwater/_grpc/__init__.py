"""What the client asks of gRPC: channels, the thread for synchronous calls, errors."""
