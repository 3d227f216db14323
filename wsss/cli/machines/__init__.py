"""Verbs on machines: whether this one is ready, and clusters of them."""
