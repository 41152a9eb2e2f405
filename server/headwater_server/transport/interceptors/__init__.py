"""What every RPC has in common."""
