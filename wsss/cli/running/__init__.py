"""What `run` and `resume` ask before a study starts, and what they show while it runs."""
