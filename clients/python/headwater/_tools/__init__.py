"""Tools of the Python client, and the rounds of a stream that calls them."""
