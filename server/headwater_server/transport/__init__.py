"""gRPC: the servicers, and the conversion between the contract and the domain."""
