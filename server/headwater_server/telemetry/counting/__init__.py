"""The parts of the metrics: labels with a bound, and numbers that are read when they are asked for."""
