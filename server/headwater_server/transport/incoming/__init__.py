"""What a request may cost before anybody looks at it: its bytes, its elements, and those of all requests together."""
