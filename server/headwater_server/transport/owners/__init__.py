"""Several server processes: which one answers a call, and how the others pass it on."""
