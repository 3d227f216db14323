"""A tiny hand-made devkit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

TINY = {
    "train": {
        "2007_000001": ("cat",),
        "2007_000002": ("dog",),
        "2007_000003": ("cat", "dog"),
        "x_4": ("bus",),
    },
    "val": {"2007_000005": ("cat",), "2007_000006": ("dog", "bus")},
}
IDS = {"bus": 6, "cat": 8, "dog": 12}


def write_tiny_voc(root: Path) -> Path:
    """Write six photos of 40 by 30 pixels: one upright bar of pixels per object, bordered by 255."""
    for folder in ("JPEGImages", "Annotations", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    random = np.random.default_rng(0)
    for split, images in TINY.items():
        (root / "ImageSets/Segmentation" / f"{split}.txt").write_text("".join(f"{id}\n" for id in images))
        for id, names in images.items():
            mask = np.zeros((30, 40), np.uint8)
            for place, name in enumerate(names):
                mask[5:25, 5 + 15 * place : 16 + 15 * place] = 255
                mask[6:24, 6 + 15 * place : 15 + 15 * place] = IDS[name]
            picture = Image.fromarray(mask)
            picture.putpalette([(7 * k) % 256 for k in range(768)])
            picture.save(root / "SegmentationClass" / f"{id}.png")
            photo = random.integers(0, 256, (30, 40, 3), np.uint8)
            Image.fromarray(photo).save(root / "JPEGImages" / f"{id}.jpg")
            objects = "".join(f"<object><name>{name}</name></object>" for name in names)
            size = "<size><width>40</width><height>30</height><depth>3</depth></size>"
            text = f"<annotation>{size}{objects}</annotation>"
            (root / "Annotations" / f"{id}.xml").write_text(text)
    return root
