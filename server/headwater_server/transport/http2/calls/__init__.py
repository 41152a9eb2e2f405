"""Calls of gRPC on streams of HTTP/2: their heads, messages and ends, and what servicers see of them."""
