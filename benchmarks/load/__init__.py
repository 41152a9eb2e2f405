"""The load generators, the scripted upstream and the processes that the benchmarks start."""
