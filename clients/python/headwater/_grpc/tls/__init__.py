"""TLS to the server: its files, and the reasons of a failed handshake."""
