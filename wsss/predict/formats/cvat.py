"""CVAT's XML ("CVAT for images 1.1"): masks as run lengths within their boxes, without loss."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from wsss.data.pictures.palette import PALETTE
from wsss.files import write_atomic
from wsss.predict.formats.item import Item, Region


def write_cvat(path: Path, items: Sequence[Item], classes: Sequence[str]) -> None:
    """Write one XML file, whole or not at all.

    Args:
        path: the file, which is replaced if it is there.
        items: photos with their masks.
        classes: names, in the order of mask ids.
    """
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    labels = ElementTree.SubElement(
        ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task"), "labels"
    )
    for id, name in enumerate(classes, start=1):
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = name
        ElementTree.SubElement(label, "color").text = "#" + bytes(PALETTE[id]).hex()
        ElementTree.SubElement(label, "type").text = "mask"
        ElementTree.SubElement(label, "attributes")
    for number, item in enumerate(items):
        (height, width), regions = item.regions(classes)
        about = {"id": str(number), "name": item.photo.name, "width": str(width), "height": str(height)}
        image = ElementTree.SubElement(root, "image", about)
        for id, region in regions:
            top, left, box = boxed(region)
            facts = {
                "label": classes[id - 1],
                "source": "auto",
                "occluded": "0",
                "rle": ", ".join(map(str, run_lengths(box))),
                "left": str(left),
                "top": str(top),
                "width": str(box.shape[1]),
                "height": str(box.shape[0]),
                "z_order": "0",
            }
            ElementTree.SubElement(image, "mask", facts)
    ElementTree.indent(root)
    write_atomic(path, ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def boxed(region: Region) -> tuple[int, int, Region]:
    """Return the first row and column of a region that isn't empty, and its box, bool[h, w]."""
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    box = region[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return int(rows[0]), int(columns[0]), box


def run_lengths(box: Region) -> list[int]:
    """Return the lengths of runs of a box bool[h, w], row after row, alternately outside and inside; the
    first is outside, and may be 0.

    Examples:
        >>> run_lengths(np.array([[True, True, False], [True, False, False]]))
        [0, 2, 1, 1, 2]
    """
    flat = box.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return [0, *lengths] if flat[0] else lengths
