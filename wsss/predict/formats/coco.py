"""COCO's JSON: one annotation for each class of a photo, as a run-length code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as codes

from wsss.files import write_atomic
from wsss.predict.formats.item import Item


def write_coco(path: Path, items: Sequence[Item], classes: Sequence[str]) -> None:
    """Write one JSON file, whole or not at all.

    Args:
        path: the file, which is replaced if it is there.
        items: photos with their masks; a photo's number is its place, from 1.
        classes: names, in the order of mask ids; a category's number is its id in masks.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, item in enumerate(items, start=1):
        (height, width), regions = item.regions(classes)
        images.append({"id": number, "file_name": item.photo.name, "height": height, "width": width})
        for id, region in regions:
            code = codes.encode(np.asfortranarray(region.astype(np.uint8)))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": id,
                    "segmentation": {"size": [height, width], "counts": code["counts"].decode()},
                    "area": int(codes.area(code)),
                    "bbox": [float(value) for value in codes.toBbox(code)],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": id, "name": name} for id, name in enumerate(classes, start=1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    write_atomic(path, json.dumps(content, ensure_ascii=False).encode())
