"""From photos to what a network is shown: crops, augmentation, batches, and their way to a GPU."""
