"""The parts of reading an error: its codes and sentences, its words wherever they stand, the time to wait."""
