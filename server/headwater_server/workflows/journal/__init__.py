"""The record of runs that survives a crash."""
