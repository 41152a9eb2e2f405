"""Headwater: stream replies of language models over gRPC as if they were in-process."""
