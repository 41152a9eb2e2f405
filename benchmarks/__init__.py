"""Measurements of Headwater beside other gateways. `python -m benchmarks --help` explains."""
