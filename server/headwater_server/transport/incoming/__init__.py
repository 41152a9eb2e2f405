"""The limits of requests: the bytes and elements of one, the memory of all together, and how long one may take."""
