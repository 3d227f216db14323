"""What is measured of CAMs, masks and segmentations, and the pictures that go with it."""
