"""What surrounds every call, one module a concern; `chain` says which and in what order."""
