"""One event log: bounded, with many readers, resumable by sequence, and exact about what is gone."""
