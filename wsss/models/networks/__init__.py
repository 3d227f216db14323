"""Networks on top of a backbone: for CAMs, affinities, segmentation, and a head on frozen features."""
