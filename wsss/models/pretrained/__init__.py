"""Pretrained weights: where they come from, how their files are read, and whose layout they have."""
