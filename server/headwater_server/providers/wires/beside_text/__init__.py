"""The parts of a reply that stand beside its text, in the shapes in which providers send them."""
