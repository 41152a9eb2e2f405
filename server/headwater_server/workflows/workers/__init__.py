"""The pool of workers and their tasks."""
