"""Ways to hide a part of an image, one file each."""
