"""Photos above the working size go through the whole chain: bounded, said aloud, and under keys of their own."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import wsss.data.photo_set as photo_set
import wsss.data.pictures.fingerprint as fingerprint
import wsss.data.pictures.sizes as sizes
import wsss.pipeline.chains.facts as facts
from wsss.config import load_study_text
from wsss.data.pictures.decode import photo_size
from wsss.data.pictures.sizes import resize_mask
from wsss.data.sample.data_set import write_sample
from wsss.data.view import DataView, open_data
from wsss.masks.images import read_mask, write_mask
from wsss.models.computing.memory import FREE_SHARE
from wsss.pipeline.chains.chain import Chain, build_chain
from wsss.pipeline.chains.execute import run_chain
from wsss.pipeline.search.trials import sweep_trials
from wsss.stages import shards
from wsss.stages.cams import Cams
from wsss.stages.contract import Context
from wsss.stages.memory_bound import MemoryBound
from wsss.stages.shards import CamShards
from wsss.store.folder_store import Store

SMALL, LARGE = 64, 200
STUDY = """
name: large
data:
  dataset: voc
  root: kit
  holdout: 0.2
  select: {split: train, half: a}
  report: {split: train, half: b}
  test: {split: val}
sweeps:
  - name: cam
    stages:
      - classifier: {method: cam, backbone: efficientnet_lite0, epochs: 1, batch: 4, crop: 64, long_side: [64, 96], rung: {images: 4}}
      - features
      - cams: {scales: [1.0, 1.5]}
      - affinity_labels: {crf: {iterations: 2}}
      - affinity: {backbone: efficientnet_lite0, epochs: 1, batch: 4, crop: 64, long_side: [64, 96]}
      - pseudo_masks: {confidence: true, walk: {log_steps: 3, crf: true}, crf: {iterations: 2}}
      - segmenter: {ignore_below: 0.4, backbone: efficientnet_lite0, iterations: 2, batch: 4, crop: 65, patience: 1}
      - segmentations: {crf: {iterations: 2}}
"""


def kit(root: Path, large: tuple[str, ...]) -> None:
    """Write a sample set in which some photos are larger than the rest."""
    write_sample(root, train=10, val=2, size=SMALL, seed=0)
    for id in large:
        with Image.open(root / f"JPEGImages/{id}.jpg", formats=["JPEG"]) as photo:
            photo.resize((LARGE, LARGE), Image.Resampling.BICUBIC).save(root / f"JPEGImages/{id}.jpg")
        mask = read_mask(root / f"SegmentationClass/{id}.png")
        write_mask(root / f"SegmentationClass/{id}.png", resize_mask(mask, (LARGE, LARGE)))
        annotation = root / f"Annotations/{id}.xml"
        text = re.sub(r"<(width|height)>\d+<", rf"<\1>{LARGE}<", annotation.read_text())
        annotation.write_text(text)


def opened(folder: Path) -> tuple[DataView, Chain]:
    study = load_study_text(STUDY, source="large.yaml", base=folder)
    view = open_data(study.data, storage=folder / "storage", workers=1)
    trial = sweep_trials(study, study.sweeps[0], [], view)[0]
    return view, build_chain(trial.parts, view, 0)


def working_pixels(patch: pytest.MonkeyPatch, pixels: int) -> None:
    for module in (sizes, fingerprint, photo_set, facts):
        patch.setattr(module, "WORKING_PIXELS", pixels)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    kit(folder / "kit", ("sample_000001", "sample_000002", "sample_000010"))
    return folder


@dataclass
class Made:
    """The chain, made at a working size of 96 × 96 pixels, and what was logged."""

    view: DataView
    chain: Chain
    store: Store
    log: str


@pytest.fixture(scope="module")
def made(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("wsss").addHandler(handler)
    with pytest.MonkeyPatch.context() as patch:
        working_pixels(patch, 96 * 96)
        view, chain = opened(place)
        store = Store(tmp_path_factory.mktemp("store"))
        list(run_chain("t", chain, store, view, device="cpu", threads=1))
    logging.getLogger("wsss").removeHandler(handler)
    return Made(view, chain, store, "\n".join(lines))


def test_the_chain_works_on_smaller_copies_and_masks_have_their_photos_size(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    working_pixels(monkeypatch, 96 * 96)
    view, chain, store = made.view, made.chain, made.store
    large = [id for id in view.labelled_ids + view.test if view.dataset.image(id).size == (96, 96)]
    assert len(large) == 3, "the others are of ordinary size"

    maps = CamShards(store.folder(chain["cams"].key))
    for id in view.labelled_ids:
        assert maps[id][0].shape[1:] == view.dataset.mask(id).shape
        assert (view.dataset.mask(id).shape == (96, 96)) == (id in large)
        mask = read_mask(store.folder(chain["pseudo_masks"].key) / f"{id}.png")
        sure = read_mask(store.folder(chain["pseudo_masks"].key) / "confidence" / f"{id}.png")
        assert mask.shape[::-1] == sure.shape[::-1] == photo_size(view.dataset.image_path(id))
    for id in view.test:
        mask = read_mask(store.folder(chain["segmentations"].key) / f"{id}.png")
        assert mask.shape[::-1] == photo_size(view.dataset.image_path(id))

    def count(label: str) -> dict[str, int] | None:
        artefact = store.known(chain[label].key)
        assert artefact is not None
        found: dict[str, int] | None = artefact.record.get("smaller_copies")
        return found

    in_labelled = sum(id in large for id in view.labelled_ids)
    assert count("cams") == {"photos": in_labelled, "most_pixels": 96 * 96}
    assert f"cams: {in_labelled} of {len(view.labelled_ids)} photos have more than 9,216 pixels" in made.log
    assert "200 × 200 pixels, the largest, as one of 96 × 96" in made.log


def test_keys_change_for_large_photos_alone(place: Path, tmp_path: Path) -> None:
    _, before = opened(place)
    with pytest.MonkeyPatch.context() as patch:
        working_pixels(patch, 96 * 96)
        _, after = opened(place)
    assert before["classifier"].key != after["classifier"].key
    kit(tmp_path / "kit", ())
    _, one = opened(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        working_pixels(patch, 96 * 96)
        _, other = opened(tmp_path)
    assert [node.key for node in one.nodes] == [node.key for node in other.nodes]


def test_cams_are_the_same_however_photos_are_grouped_and_made_on_copies_where_little_is_free(
    made: Made, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view, _ = opened(place)
    node = made.chain["cams"]
    inputs = {kind: made.store.folder(made.chain[label].key) for kind, label in node.inputs.items()}

    def run(name: str) -> tuple[CamShards, dict[str, object]]:
        (tmp_path / f"work-{name}").mkdir()
        stage = Cams(Context(node.params, inputs, view, 0, "cpu", 1, tmp_path / f"work-{name}"))
        for _ in range(stage.steps):
            stage.step()
        (tmp_path / name).mkdir()
        summary = stage.finish(tmp_path / name)
        return CamShards(tmp_path / name), summary

    plain, summary = run("plain")
    assert set(summary) == {"images", "maps"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "MOST_BYTES", 1)
        alone, _ = run("alone")
    assert {entry["shard"] for entry in alone.index.values()} == set(range(len(view.labelled_ids)))
    assert all(np.array_equal(plain[id][0], alone[id][0]) for id in view.labelled_ids)

    large = {id for id in view.labelled_ids if plain[id][0].shape[1] == LARGE}
    monkeypatch.setattr(MemoryBound, "_free", lambda self, device: 2 * 495 * 2.25 * 100**2 / FREE_SHARE)
    small, summary = run("small")
    assert isinstance(summary["smaller"], dict) and set(summary["smaller"]) == large and large
    assert all(max(size) < LARGE for size in summary["smaller"].values())
    for id in view.labelled_ids:
        assert small[id][0].shape == plain[id][0].shape
        assert np.array_equal(small[id][0], plain[id][0]) == (id not in large)
