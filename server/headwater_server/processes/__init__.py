"""Several server processes that share one port: the supervisor, the processes, the port."""
