"""What is remembered of runs over a crash."""
