"""Using a trained segmentation network on photos that nobody has labelled."""
