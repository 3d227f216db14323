"""What somebody else adds to wsss, without touching it."""
