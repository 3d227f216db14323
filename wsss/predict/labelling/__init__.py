"""Masks for a folder of photos, from one command: the study that is run, and what comes of it."""
