"""The services of the contract: one method an RPC."""
