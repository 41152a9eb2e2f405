"""What several wire formats share, without I/O: framing, decoding, JSON, errors."""
