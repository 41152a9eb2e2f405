"""TLS to the server: its files, and what a failed handshake means."""
