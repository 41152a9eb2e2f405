"""Which worker does what: the pool of workers and their tasks."""
