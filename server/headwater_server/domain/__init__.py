"""The words of the server: plain Python, no I/O, no gRPC, no HTTP."""
