"""What runs in the process of a trial on Ray."""
