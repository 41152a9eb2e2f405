"""Common parts of several wire formats, without I/O: framing, decoding, JSON, errors."""
