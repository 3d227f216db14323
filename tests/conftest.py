"""Data for tests: a tiny hand-made devkit, and real PASCAL VOC photos where there are any."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from s3_server import s3_server

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


@pytest.fixture
def tiny_voc(tmp_path: Path) -> Path:
    return write_tiny_voc(tmp_path / "voc")


@pytest.fixture(scope="session")
def voc_root() -> Path:
    """Real PASCAL VOC photos, from WSSS_VOC_ROOT or beside the repository."""
    beside = Path(__file__).parents[2] / "shared/data/VOCdevkit/VOC2012"
    root = Path(os.environ.get("WSSS_VOC_ROOT", beside))
    if not (root / "JPEGImages").is_dir():
        pytest.skip(f"no PASCAL VOC at {root}: set WSSS_VOC_ROOT to a VOC2012 folder")
    return root


TINY_STUDY = """\
name: tiny
data:
  dataset: sample
  sample: {train: 20, val: 4, size: 64}
  holdout: 0.2
  select: {split: train, half: a}
  report: {split: train, half: b}
sweeps:
  - name: cam
    arms:
      baseline:
        stages: [classifier: &small {method: cam, backbone: efficientnet_lite0, epochs: 3, batch: 4, crop: 64, long_side: [64, 96], rung: {images: 4}}, cams: {scales: [1.0]}]
      fmix:
        search: {alpha: {uniform: [0.5, 2.0]}}
        samples: 2
        stages: [classifier: {method: fmix, backbone: efficientnet_lite0, epochs: 3, batch: 4, crop: 64, long_side: [64, 96], rung: {images: 4}, mixing: {alpha: $alpha}}, cams: {scales: [1.0]}]
  - name: masks
    stages: [pseudo_masks: {crf: {iterations: 2}}]
""".replace("&small ", "")


@pytest.fixture(scope="session")
def tiny_study_text() -> str:
    return TINY_STUDY


@pytest.fixture
def tiny_study(tmp_path: Path) -> Path:
    """A study file that runs within seconds: two arms, three trials, two sweeps."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY_STUDY)
    return path


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """A real S3 server on this machine, as "host:port"."""
    with s3_server() as server:
        yield server
