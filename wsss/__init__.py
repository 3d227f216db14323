"""wsss: experiments in weakly-supervised semantic segmentation, from image-level labels to pixel masks."""

__version__ = "0.1.0"
