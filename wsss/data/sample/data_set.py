"""The embedded sample: a small, drawn data set in PASCAL VOC layout, made in seconds and offline.

Five woolly animals share one body and differ in the head only, so a classifier can look at the head
and be right, which is exactly the disease of class activation maps that the methods here treat.
"""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from wsss.data.pictures.palette import PALETTE
from wsss.data.sample.creatures import SAMPLE_CLASSES
from wsss.data.sample.scene import Scene, make_scene
from wsss.errors import DataError, Problem
from wsss.files import read_json, write_json

__all__ = ["SAMPLE_CLASSES", "SAMPLE_VERSION", "sample_ids", "write_sample"]

SAMPLE_VERSION = 1  # raise whenever the same parameters give other pictures
_MARK = "sample.json"
_MOST = 99_999
_FOLDERS = {
    "JPEGImages": ".jpg",
    "SegmentationClass": ".png",
    "Annotations": ".xml",
    "Parts": ".png",
}


def sample_ids(train: int, val: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the ids of both lists. An id names the same picture in lists of any length."""
    return (
        tuple(f"sample_{number:06d}" for number in range(1, train + 1)),
        tuple(f"sample_{number:06d}" for number in range(_MOST + 2, _MOST + 2 + val)),
    )


def write_sample(root: Path, *, train: int = 160, val: int = 80, size: int = 128, seed: int = 0) -> None:
    """Write the sample as a VOC folder at `root`, whole or not at all.

    The same arguments give the same bytes. Beside the VOC folders there are `classes.txt` (line k names mask
    id k) and, for diagnosis, `Parts/<id>.png`: 0 background, 2k-1 the head of class k, 2k the rest of it, 255
    border. Returns at once when `root` already holds this very sample; replaces another sample; raises
    `DataError` for bad arguments and when `root` holds anything else.

    Args:
        root: the folder.
        train: images in the list `train`, in [1, 99999].
        val: images in the list `val`, in [1, 99999].
        size: the longer side in pixels, in [32, 2048].
        seed: of the pictures, in [0, 2^32].

    Examples:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp()) / "sample"
        >>> write_sample(root, train=2, val=1, size=32)
        >>> sorted(path.name for path in root.iterdir())
        ['Annotations', 'ImageSets', 'JPEGImages', 'Parts', 'SegmentationClass', 'classes.txt', 'sample.json']
        >>> (root / "classes.txt").read_text().split()
        ['deer', 'elephant', 'hare', 'lion', 'ram']
    """
    _check(root, train, val, size, seed)
    facts = {"version": SAMPLE_VERSION, "train": train, "val": val, "size": size, "seed": seed}
    ids = sample_ids(train, val)
    if _complete(root, facts, ids):
        return
    root.parent.mkdir(parents=True, exist_ok=True)
    aside = root.with_name(f".{root.name}.{uuid.uuid4().hex[:8]}")
    try:
        _write_all(aside, ids, size, seed)
        write_json(aside / _MARK, facts)
        _move_in(aside, root, facts, ids)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _check(root: Path, train: int, val: int, size: int, seed: int) -> None:
    ranges = (
        ("train", train, 1, _MOST),
        ("val", val, 1, _MOST),
        ("size", size, 32, 2048),
        ("seed", seed, 0, 2**32),
    )
    problems = [
        Problem("sample", f"`{name}` is {value}, but must be in [{low}, {high}]")
        for name, value, low, high in ranges
        if not low <= value <= high
    ]
    if root.is_file() or (root.is_dir() and any(root.iterdir()) and not (root / _MARK).is_file()):
        hint = "choose an empty or a new folder"
        problems.append(Problem(str(root), "holds something that is not a sample", hint))
    if problems:
        raise DataError(problems)


def _complete(root: Path, facts: dict[str, int], ids: tuple[tuple[str, ...], tuple[str, ...]]) -> bool:
    if read_json(root / _MARK) != facts:
        return False
    return all(
        (root / folder / f"{one}{end}").is_file()
        for half in ids
        for one in half
        for folder, end in _FOLDERS.items()
    )


def _write_all(root: Path, ids: tuple[tuple[str, ...], tuple[str, ...]], size: int, seed: int) -> None:
    for folder in _FOLDERS:
        (root / folder).mkdir(parents=True)
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for name, members in (("train", ids[0]), ("val", ids[1]), ("trainval", ids[0] + ids[1])):
        (lists / f"{name}.txt").write_text("".join(f"{one}\n" for one in members), encoding="utf-8")
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in SAMPLE_CLASSES), encoding="utf-8")
    palette = PALETTE.tobytes()
    for one in ids[0] + ids[1]:
        number = int(one.rpartition("_")[2])
        rng = np.random.default_rng([seed, number])
        scene = make_scene(rng, size, number % len(SAMPLE_CLASSES))
        _write_scene(root, one, scene, palette)


def _write_scene(root: Path, one: str, scene: Scene, palette: bytes) -> None:
    Image.fromarray(scene.picture).save(root / "JPEGImages" / f"{one}.jpg", quality=92)
    for folder, ids in (("SegmentationClass", scene.mask), ("Parts", scene.parts)):
        image = Image.fromarray(ids)
        image.putpalette(palette)
        image.save(root / folder / f"{one}.png")
    (root / "Annotations" / f"{one}.xml").write_bytes(_annotation(one, scene))


def _annotation(one: str, scene: Scene) -> bytes:
    height, width = scene.parts.shape
    root = ElementTree.Element("annotation")

    def add(parent: ElementTree.Element, name: str, text: str = "") -> ElementTree.Element:
        element = ElementTree.SubElement(parent, name)
        element.text = text or None
        return element

    add(root, "folder", "sample")
    add(root, "filename", f"{one}.jpg")
    box = add(root, "size")
    for name, value in (("width", width), ("height", height), ("depth", 3)):
        add(box, name, str(value))
    add(root, "segmented", "1")
    for kind, corners in scene.objects:
        item = add(root, "object")
        add(item, "name", SAMPLE_CLASSES[kind - 1])
        add(item, "difficult", "0")
        box = add(item, "bndbox")
        for name, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True):
            add(box, name, str(value))
    ElementTree.indent(root, "\t")
    return ElementTree.tostring(root) + b"\n"


def _move_in(
    aside: Path, root: Path, facts: dict[str, int], ids: tuple[tuple[str, ...], tuple[str, ...]]
) -> None:
    """Rename `aside` to `root`; another process may have been quicker with the same sample."""
    if root.is_dir() and any(root.iterdir()):
        if _complete(root, facts, ids):
            return
        old = root.with_name(f".{root.name}.{uuid.uuid4().hex[:8]}")
        root.rename(old)
        shutil.rmtree(old, ignore_errors=True)
    try:
        aside.replace(root)
    except OSError:
        if not _complete(root, facts, ids):
            raise
