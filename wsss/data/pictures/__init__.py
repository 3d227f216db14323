"""Photos and masks as files: opened safely, decoded in full, told apart by fingerprints."""
