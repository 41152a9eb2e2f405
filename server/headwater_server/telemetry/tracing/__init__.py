"""Traces: `spans` says what the rest of the server may do with them; the other modules are loaded where they are on."""
