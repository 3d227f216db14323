"""Ways to mix the images of a batch, one file each."""
