"""Data for tests: a tiny hand-made devkit, and real PASCAL VOC photos where there are any."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_server import s3_server
from tiny_data import TINY_DATA
from tiny_devkit import write_tiny_voc


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


TINY_STUDY = (
    f"name: tiny\n{TINY_DATA}"
    + """\
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
)


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
