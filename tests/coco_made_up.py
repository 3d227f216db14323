"""A folder in COCO's layout, with outlines that can be worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CATEGORIES = [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}, {"id": 17, "name": "cat"}]
SIZE = (8, 6)
"""Width and height of every photo."""


def box(left: int, top: int, right: int, bottom: int) -> list[list[float]]:
    """A rectangle as one polygon."""
    return [[left, top, right, top, right, bottom, left, bottom]]


def annotation(id: int, image: int, category: int, shape: Any, area: float) -> dict[str, Any]:
    return {"id": id, "image_id": image, "category_id": category, "segmentation": shape, "area": area,
            "iscrowd": int(isinstance(shape, dict)), "bbox": [0, 0, 1, 1]}  # fmt: skip


def runs(mask: np.ndarray) -> list[int]:
    """The code of a mask, column by column, beginning with the zeros."""
    flat = np.concatenate([[0], mask.T.ravel().astype(int), [2]])
    edges = np.flatnonzero(np.diff(flat))
    counts = np.diff(np.concatenate([[0], edges]))
    found: list[int] = counts.tolist()
    return found if not mask.T.ravel()[0] else [0, *found[1:]] if found and found[0] == 0 else [0, *found]


def write_coco(root: Path, train: int = 12, val: int = 4) -> Path:
    """Write photos and instances: image n of a list shows a person, a cat or a dog, by n modulo 3, on noise."""
    (root / "annotations").mkdir(parents=True)
    for split, count, start in (("train", train, 1), ("val", val, 1001)):
        folder = root / f"{split}2014"
        folder.mkdir()
        images, annotations = [], []
        for n in range(start, start + count):
            name = f"COCO_{split}2014_{n:012d}.jpg"
            pixels = np.random.default_rng(n).integers(0, 255, (SIZE[1] * 8, SIZE[0] * 8, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name)
            images.append({"id": n, "file_name": name, "width": SIZE[0] * 8, "height": SIZE[1] * 8})
            category = CATEGORIES[n % 3]["id"]
            annotations.append(annotation(10 * n, n, int(str(category)), box(8, 8, 40, 32), 32 * 24))
        images.append({"id": start + 500, "file_name": f"COCO_{split}2014_{start + 500:012d}.jpg",
                       "width": 8, "height": 6})  # fmt: skip
        Image.new("RGB", SIZE).save(folder / str(images[-1]["file_name"]))
        write_instances(root, f"{split}2014", images, annotations)
    return root


def write_instances(root: Path, name: str, images: list[Any], annotations: list[Any]) -> Path:
    """Write a file in the order of COCO's own: categories come last."""
    content = {"info": {"year": 2014, "urls": [["a"]]}, "images": images, "licenses": [{"id": 1, "name": "images"}],
               "annotations": annotations, "categories": CATEGORIES}  # fmt: skip
    path = root / f"annotations/instances_{name}.json"
    path.write_text(json.dumps(content))
    return path
