"""What the server talks about: plain Python, no I/O, no gRPC, no HTTP."""
