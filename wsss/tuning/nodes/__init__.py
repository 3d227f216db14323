"""The nodes of a Ray cluster: whether they have room for a trial, and whether each has what a study needs."""
