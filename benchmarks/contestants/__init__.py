"""The contestants: how each is started between the load generator and the upstream.

Headwater runs as users run it. The others run as one process, with logging down and everything off that would leave the
machine. `make bench-peers` installs each of them in a separate environment under .tools/bench.
"""
