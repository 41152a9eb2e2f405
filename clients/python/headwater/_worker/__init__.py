"""The Python worker: it connects to a queue and runs the handlers of steps."""
