"""CAMs, masks and segmentations of other programs, read without trusting them."""

from __future__ import annotations

from wsss.masks.foreign.files import foreign_files
from wsss.masks.foreign.maps import read_cams
from wsss.masks.foreign.predictions import read_foreign_mask, read_segmentation

__all__ = ["foreign_files", "read_cams", "read_foreign_mask", "read_segmentation"]
