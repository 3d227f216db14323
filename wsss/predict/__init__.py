"""Using a trained segmentation network on photos without labels."""
