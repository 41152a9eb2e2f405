"""Tools of the Python client: what one is, and the rounds of a stream that calls them."""
