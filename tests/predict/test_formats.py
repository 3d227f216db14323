"""Masks in other programs' formats, read back by other means than they were written."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools.coco import COCO

from wsss.config import DataSpec
from wsss.config.data_set import DATA_SETS
from wsss.masks.images import write_mask
from wsss.predict.formats import Item, write_coco, write_cvat, write_labelme
from wsss.predict.formats.labelme import polygons, simplified

CLASSES = ("cat", "dog & <Hund>")


def shapes() -> np.ndarray:
    """A ring with a hole, a disc, an object at the edge, a single pixel, and pixels that nobody knows."""
    y, x = np.mgrid[:60, :90]
    mask = np.zeros((60, 90), np.uint8)
    far = np.hypot(y - 30, x - 30)
    mask[(far < 22) & (far > 9)] = 1
    mask[np.hypot(y - 20, x - 70) < 12] = 2
    mask[50:, 80:] = 2
    mask[2, 60] = 1
    mask[0:4, 0:4] = 255
    return mask


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    found = []
    for name, mask in (
        ("a", shapes()),
        ("b", np.zeros((20, 30), np.uint8)),
        ("c", np.ones((8, 5), np.uint8)),
    ):
        Image.new("RGB", mask.shape[::-1]).save(tmp_path / f"{name}.jpg")
        write_mask(tmp_path / f"{name}.png", mask)
        found.append(Item(tmp_path / f"{name}.jpg", tmp_path / f"{name}.png"))
    return found


def known(item: Item) -> np.ndarray:
    mask = np.asarray(Image.open(item.mask))
    return np.where(mask == 255, 0, mask)


def test_coco_reads_back_pixel_by_pixel(items: list[Item], tmp_path: Path) -> None:
    write_coco(tmp_path / "coco.json", items, CLASSES)
    coco = COCO(str(tmp_path / "coco.json"))
    assert [coco.cats[id]["name"] for id in (1, 2)] == list(CLASSES)
    for number, item in enumerate(items, start=1):
        about = coco.imgs[number]
        mask = np.zeros((about["height"], about["width"]), np.uint8)
        for annotation in coco.imgToAnns[number]:
            code = coco.annToMask(annotation)
            assert annotation["area"] == code.sum()
            left, top, width, height = map(int, annotation["bbox"])
            assert code[top : top + height, left : left + width].sum() == code.sum()
            mask[code > 0] = annotation["category_id"]
        assert about["file_name"] == item.photo.name and np.array_equal(mask, known(item))


def test_our_own_reader_of_coco_takes_it(items: list[Item], tmp_path: Path) -> None:
    (tmp_path / "set/annotations").mkdir(parents=True)
    (tmp_path / "set/mine").mkdir()
    for item in items:
        (tmp_path / "set/mine" / item.photo.name).write_bytes(item.photo.read_bytes())
    write_coco(tmp_path / "set/annotations/instances_mine.json", items, CLASSES)
    spec = DataSpec(dataset="coco", root=tmp_path / "set", train="mine")
    dataset = DATA_SETS["coco"].open(spec, tmp_path / "storage")
    assert dataset.labels(["a", "c"]).tolist() == [[1, 1], [1, 0]]
    assert np.array_equal(dataset.mask("a"), known(items[0]))


def test_cvat_reads_back_pixel_by_pixel(items: list[Item], tmp_path: Path) -> None:
    write_cvat(tmp_path / "cvat.xml", items, CLASSES)
    root = ElementTree.parse(tmp_path / "cvat.xml").getroot()
    assert root.findtext("version") == "1.1"
    assert [label.findtext("name") for label in root.iterfind("meta/task/labels/label")] == list(CLASSES)
    images = root.findall("image")
    assert [image.get("name") for image in images] == [item.photo.name for item in items]
    for image, item in zip(images, items, strict=True):
        mask = np.zeros((int(image.attrib["height"]), int(image.attrib["width"])), np.uint8)
        for one in image.iterfind("mask"):
            top, left, width, height = (int(one.attrib[key]) for key in ("top", "left", "width", "height"))
            flat: list[bool] = []
            for number, length in enumerate(map(int, one.attrib["rle"].split(","))):
                flat += [number % 2 == 1] * length
            box = np.array(flat).reshape(height, width)
            mask[top : top + height, left : left + width][box] = 1 + CLASSES.index(one.attrib["label"])
        assert np.array_equal(mask, known(item))


def test_labelme_has_polygons_that_cover_the_objects_with_their_holes(
    items: list[Item], tmp_path: Path
) -> None:
    write_labelme(tmp_path / "shapes", items, CLASSES)
    content = json.loads((tmp_path / "shapes/a.json").read_text())
    assert (tmp_path / "shapes" / content["imagePath"]).resolve() == items[0].photo.resolve()
    assert (content["imageHeight"], content["imageWidth"], content["imageData"]) == (60, 90, None)
    fine = 8
    canvas = Image.new("L", (90 * fine, 60 * fine))
    for shape in content["shapes"]:
        assert shape["shape_type"] == "polygon" and len(shape["points"]) < 60
        draw = ImageDraw.Draw(canvas)
        draw.polygon(
            [(x * fine, y * fine) for x, y in shape["points"]], fill=1 + CLASSES.index(shape["label"])
        )
    mask, drawn = known(items[0]), np.asarray(canvas)[fine // 2 :: fine, fine // 2 :: fine]
    for id in (1, 2):
        both, either = ((mask == id) & (drawn == id)).sum(), ((mask == id) | (drawn == id)).sum()
        assert both / either > 0.93
    assert drawn[30, 30] == 0, "the hole stays one"
    assert json.loads((tmp_path / "shapes/b.json").read_text())["shapes"] == []


def test_a_rectangle_has_four_corners_at_the_edges_of_its_pixels() -> None:
    region = np.zeros((20, 30), bool)
    region[5:15, 8:20] = True
    (corners,) = polygons(region)
    assert corners.min(0).tolist() == [8, 5] and corners.max(0).tolist() == [20, 15]
    assert len(corners) <= 8, "corners are cut by half a pixel"


def test_what_is_left_out_of_a_line_lies_near_it() -> None:
    angle = np.linspace(0, 2 * np.pi, 400)
    ring = np.stack([40 * np.cos(angle), 25 * np.sin(angle)], 1)
    ring[-1] = ring[0]
    few = simplified(ring, 0.5)
    assert len(few) < 40
    for point in ring:
        a, b = few[:-1], few[1:]
        share = np.clip(((point - a) * (b - a)).sum(1) / ((b - a) ** 2).sum(1), 0, 1)[:, None]
        assert np.hypot(*(point - a - share * (b - a)).T).min() <= 0.5 + 1e-9
