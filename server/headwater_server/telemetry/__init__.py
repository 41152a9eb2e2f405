"""The view of a running server from outside: its log, metrics and traces."""
