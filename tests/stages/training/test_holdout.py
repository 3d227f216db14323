"""Hold-out mAP: at the size that training looked at, against single photos and scikit-learn, and in its key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import average_precision_score

from wsss.cli.comparison.compare import score_lines
from wsss.config.params.stages import ClassifierParams
from wsss.data.view import DataView
from wsss.files import sha256_json
from wsss.launch.words import describe_metrics
from wsss.models import CamNetwork
from wsss.pipeline.chains.chain import Part, build_chain
from wsss.pipeline.chains.execute import run_chain
from wsss.pipeline.past.results import chain_result
from wsss.report.comparison import Comparison, Row
from wsss.report.words.notes import notes
from wsss.stages import STAGES
from wsss.stages.contract import Context
from wsss.stages.training import rung
from wsss.stages.training.classifier import Classifier
from wsss.stages.training.rung import holdout_map
from wsss.store.folder_store import Store

PARAMS = ClassifierParams.model_validate({
    "backbone": "efficientnet_lite0", "freeze": "all", "epochs": 1, "batch": 4, "crop": 48, "long_side": [64, 97],
    "rung": {"images": 0},
})  # fmt: skip


class Photos:
    """Photos of four shapes, a third with fine stripes, which are half as strong at 48 pixels as at 80."""

    classes = ("stripes", "plain")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = {}
        for number in range(12):
            width, height = ((160, 120), (120, 160), (160, 40), (160, 160))[number % 4]
            pixels = np.full((height, width, 3), 128, np.uint8)
            if number % 3 == 0:
                pixels[:, np.arange(width) % 6 < 3] = 178
                pixels[:, np.arange(width) % 6 >= 3] = 78
            pixels = np.clip(pixels + number, 0, 255).astype(np.uint8)
            self.images[f"{number:02d}"] = Image.fromarray(pixels)
            self.images[f"{number:02d}"].save(self.image_path(f"{number:02d}"))

    def image_path(self, id: str) -> Path:
        return self.folder / f"{id}.png"

    def image(self, id: str) -> Image.Image:
        return self.images[id]

    def labels(self, ids: Any) -> np.ndarray:
        return np.array([[int(id) % 3 == 0, int(id) % 3 != 0] for id in ids], np.uint8)


class Fine(torch.nn.Module):
    """Logits: how much neighbouring columns differ, less the brightness, and the opposite. Remembers what it saw."""

    mean = (0.5, 0.5, 0.5)
    std = (0.5, 0.5, 0.5)

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, x: torch.Tensor) -> Any:
        self.seen += [tuple(x.shape[2:])] * len(x)
        detail = x.diff(dim=-1).abs().mean((1, 2, 3))
        brightness = x.mean((1, 2, 3))
        logits = torch.stack([detail - 6 * brightness, 6 * brightness - detail], 1)
        return type("Output", (), {"logits": logits})()


def single(network: Any, photos: Any, ids: tuple[str, ...], size: int) -> np.ndarray:
    """Logits of whole photos, one by one, resized by Pillow."""
    rows = []
    for id in ids:
        photo = photos.image(id)
        scale = size / max(photo.size)
        photo = photo.resize(
            tuple(max(1, round(scale * side)) for side in photo.size), Image.Resampling.BICUBIC
        )
        x = (np.asarray(photo, np.float32) / 255 - network.mean) / network.std
        with torch.inference_mode():
            rows.append(network(torch.from_numpy(x.transpose(2, 0, 1).astype(np.float32))[None]).logits[0])
    return np.stack([row.numpy() for row in rows])


def average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    there = labels.any(0)
    return float(
        np.mean([average_precision_score(labels[:, c], scores[:, c]) for c in np.flatnonzero(there)])
    )


def test_photos_of_all_shapes_are_shown_whole_at_the_size_asked_for(
    tiny_view: DataView, tmp_path: Path
) -> None:
    photos, network = Photos(tmp_path), Fine()
    data = replace(tiny_view, dataset=photos, holdout=tuple(photos.images))  # type: ignore[arg-type]
    found = holdout_map(network, data, 80, torch.device("cpu"))  # type: ignore[arg-type]
    shapes = {(60, 80): 3, (80, 60): 3, (20, 80): 3, (80, 80): 3}
    assert {shape: network.seen.count(shape) for shape in set(network.seen)} == shapes
    labels = photos.labels(data.holdout)
    expected = average_precision(single(Fine(), photos, data.holdout, 80), labels)
    assert found == {"mAP": pytest.approx(expected), "mAP_size": 80.0}
    small = holdout_map(Fine(), data, 48, torch.device("cpu"))  # type: ignore[arg-type]
    assert expected == 1 and small["mAP"] < 0.95, "what a network sees depends on the size"


def test_a_classifier_measures_in_the_middle_of_what_it_learns_from(
    tiny_view: DataView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Classifier(Context(PARAMS, {}, tiny_view, 0, "cpu", 1, tmp_path))
    metrics = stage.step()
    stage.batches.close()
    assert metrics["mAP_size"] == 80 == PARAMS.middle, "half of 64 + 97"
    scores = single(stage.network.eval(), tiny_view.dataset, tiny_view.holdout, 80)
    labels = tiny_view.dataset.labels(tiny_view.holdout)
    assert metrics["mAP"] == pytest.approx(average_precision(scores, labels))
    shown: list[int] = []

    def remember(network: CamNetwork, data: DataView, size: int, device: torch.device) -> dict[str, float]:
        shown.append(size)
        return {}

    monkeypatch.setattr("wsss.stages.training.classifier.holdout_map", remember)
    for long_side, middle in (([256, 512], 384), ([224, 320], 272), ([300, 300], 300)):
        stage.params = PARAMS.model_copy(update={"long_side": tuple(long_side)})
        stage._evaluate()
        assert shown.pop() == middle


def classifier_key(data: DataView, **changes: Any) -> str:
    params = ClassifierParams.model_validate({**PARAMS.model_dump(mode="json"), **changes})
    return build_chain([Part("classifier", "classifier", params)], data, 0)["classifier"].key


def key_before(data: DataView, **changes: Any) -> str:
    """The key of a time when mAP was measured at `crop`, written down by hand."""
    params = ClassifierParams.model_validate({**PARAMS.model_dump(mode="json"), **changes})
    read = {
        name: value
        for name, value in STAGES["classifier"].consumes(params, data).items()
        if name != "holdout_size"
    }
    content = {
        "stage": "classifier", "version": 1, "params": params.content(), "inputs": {}, "data": read, "seed": 0,
    }  # fmt: skip
    return sha256_json(content)


def test_trained_networks_keep_their_keys_unless_map_ranks_them(tiny_view: DataView) -> None:
    """With masks mAP decides nothing; without, and at another size than before, it is another result."""
    unscored = replace(tiny_view, select=(), report=())
    assert STAGES["classifier"].version == 1
    assert classifier_key(tiny_view) == key_before(tiny_view)
    assert classifier_key(unscored) != key_before(unscored)
    same = {"crop": 80}
    assert classifier_key(unscored, **same) == key_before(unscored, **same), "it was measured there before"
    without = replace(unscored, holdout=())
    assert classifier_key(without) == key_before(without)


def test_results_and_comparisons_name_the_size(tiny_view: DataView, tmp_path: Path) -> None:
    store = Store(tmp_path)
    chain = build_chain([Part("classifier", "classifier", PARAMS)], tiny_view, 0)
    list(run_chain("t", chain, store, tiny_view, device="cpu", threads=1))
    metrics = chain_result(chain, store).metrics
    assert metrics["classifier/holdout/size"] == 80 and 0 < metrics["classifier/holdout/mAP"] <= 1
    assert describe_metrics({"loss": 0.5, "mAP": 0.9, "mAP_size": 80.0}) == "loss 0.500  mAP 0.900 at 80 px"
    assert describe_metrics({"mAP": 0.9}) == "mAP 0.900"


def test_a_record_of_before_was_measured_at_the_crop(
    tiny_view: DataView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_size(*arguments: Any) -> dict[str, float]:
        return {"mAP": rung.holdout_map(*arguments)["mAP"]}

    monkeypatch.setattr("wsss.stages.training.classifier.holdout_map", without_size)
    store = Store(tmp_path)
    chain = build_chain([Part("classifier", "classifier", PARAMS)], tiny_view, 0)
    list(run_chain("t", chain, store, tiny_view, device="cpu", threads=1))
    assert chain_result(chain, store).metrics["classifier/holdout/size"] == 48


def test_a_table_without_scores_has_a_column_for_the_size() -> None:
    row = Row("s", "new", "cam", "c", (0, 1), {}, "done", "", {}, holdout={"classifier": 0.5})
    rows = (
        replace(row, holdout_sizes={"classifier": (384,)}),
        replace(row, arm="mixed", holdout_sizes={"classifier": (224, 384)}),
        replace(row, arm="old"),
    )
    comparison = Comparison(rows, (), {}, "new", ())
    header, lines = score_lines(comparison)
    assert header == ["arm", "seeds", "mAP", "px"]
    assert [line[2:] for line in lines] == [["50.0", "384"], ["50.0", "224, 384"], ["50.0", ""]]
    assert "shown with a long side of px pixels" in notes(comparison)
