"""Masks of photos on a GPU that isn't there: by the network, in tiles, and by its exported program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from trained import draw_photo
from virtual_gpu import virtual_gpus

from wsss.predict.export import export_network
from wsss.predict.predictor import Plan, Predictor, Settings
from wsss.predict.tiles import Tiling
from wsss.predict.trained.model import load_artefact, load_file_model
from wsss.store.artefact import Artefact


def test_masks_are_those_of_the_cpu(segmenter: Artefact, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    photo = draw_photo(tmp_path / "a.png", 160, 96)
    large = draw_photo(tmp_path / "large.png", 1100, 40)
    spans = Tiling(((0, 40),), ((0, 576), (320, 1100)))

    def masks(predictor: Predictor) -> list[np.ndarray]:
        found = predictor.masks([photo, photo], predictor.plan(96, 160))
        return [*found, *predictor.masks([large], Plan(spans, 1, 1))]

    settings = Settings((1.0,), flip=True)
    expected = masks(Predictor(load_artefact(segmenter.folder, segmenter.key), settings))
    with virtual_gpus():
        on_gpu = Predictor(
            load_artefact(segmenter.folder, segmenter.key), Settings((1.0,), flip=True, device="cuda")
        )
        found = masks(on_gpu)
        assert next(on_gpu.model.segmentation_network.parameters()).is_cuda
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours != theirs).mean() < 0.001


def test_an_exported_program_works_there(segmenter: Artefact, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    photo = draw_photo(tmp_path / "a.png", 160, 96)
    export_network(
        load_artefact(segmenter.folder, segmenter.key).segmentation_network, tmp_path / "a.pt2", id="a"
    )
    (expected,) = Predictor(load_file_model(tmp_path / "a.pt2"), Settings((1.0,))).masks([photo], ONE)
    with virtual_gpus():
        (found,) = Predictor(load_file_model(tmp_path / "a.pt2"), Settings((1.0,), device="cuda")).masks(
            [photo], ONE
        )
    assert (found != expected).mean() < 0.001


ONE = Plan(Tiling(((0, 96),), ((0, 160),)), 1, 1)


@pytest.mark.parametrize("amp", [True, False])
def test_a_network_is_used_in_the_numbers_of_its_training(
    amp: bool, segmenter: Artefact, tmp_path: Path
) -> None:
    import json
    import shutil

    for path in segmenter.folder.glob("segmenter.*"):
        shutil.copy(path, tmp_path / path.name)
    about = json.loads((tmp_path / "segmenter.json").read_text())
    about["params"]["amp"] = amp
    (tmp_path / "segmenter.json").write_text(json.dumps(about))
    assert load_file_model(tmp_path / "segmenter.safetensors").segmentation_network.precision.amp is amp
