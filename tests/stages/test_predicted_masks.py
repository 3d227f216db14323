"""Masks that a classifier makes of photos whose labels it isn't given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from wsss.config.params.predicted_masks import PredictedMasksParams
from wsss.config.params.stages import PseudoMasksParams
from wsss.data.view import DataView
from wsss.files import read_json
from wsss.masks.cams import multi_scale_cams
from wsss.masks.crf import cam_to_sure_mask_with_crf
from wsss.masks.images import read_mask
from wsss.models import CamNetwork
from wsss.pipeline.chains.chain import Chain
from wsss.stages.contract import Context
from wsss.stages.kinds.predicted_masks import PredictedMasks as Facts
from wsss.stages.predicted_masks import PredictedMasks, predicted_labels
from wsss.stages.training.network import load_classifier
from wsss.store.folder_store import Store


def probabilities(network: CamNetwork, photo: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.float32]:
    """Return what a classifier says of a photo that is shown with its longer side at most `side`."""
    factor = min(1.0, side / max(photo.shape[:2]))
    size = tuple(round(factor * length) for length in photo.shape[1::-1])
    small = np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BICUBIC), np.float32) / 255
    x = (small - np.array(network.mean, np.float32)) / np.array(network.std, np.float32)
    with torch.no_grad():
        logits = network(torch.from_numpy(x.transpose(2, 0, 1)[None])).logits[0].numpy()
    return np.asarray(1 / (1 + np.exp(-logits)), np.float32)


def test_a_mask_is_the_crf_of_the_cams_of_the_classes_that_the_classifier_finds(
    tiny_chain: Chain, tiny_view: DataView, calm_store: Store
) -> None:
    folder = calm_store.folder(tiny_chain["alone"].key)
    ids = sorted({*tiny_view.select, *tiny_view.test})
    assert sorted(path.stem for path in folder.glob("*.png")) == ids
    params = tiny_chain["alone"].params
    assert isinstance(params, PredictedMasksParams)
    network = load_classifier(calm_store.folder(tiny_chain["classifier"].key))
    rule = PseudoMasksParams(background_exponent=4, crf=params.crf)
    found = 0
    for id in ids:
        photo = np.asarray(tiny_view.dataset.image(id))
        keys = np.flatnonzero(probabilities(network, photo, 96) > 0.2)
        mask = read_mask(folder / f"{id}.png")
        if not len(keys):
            assert not mask.any()
            continue
        found += 1
        (maps,) = multi_scale_cams(network, [photo], [keys], scales=[1.0], flip=True, size=96, device="cpu")
        expected, _ = cam_to_sure_mask_with_crf(photo, maps, keys, rule)
        assert np.mean(mask == expected) > 0.98
    assert found > 1


def test_it_is_scored_as_a_segmentation_network_is(tiny_chain: Chain, calm_store: Store) -> None:
    scores = read_json(calm_store.folder(tiny_chain["alone.scores"].key) / "scores.json")
    other = read_json(calm_store.folder(tiny_chain["segmentations.scores"].key) / "scores.json")
    assert scores["kind"] == other["kind"] == "segmentations"
    assert scores["test"]["images"] == other["test"]["images"] and "report" not in scores


def test_labels_are_no_part_of_what_it_reads(tiny_chain: Chain, tiny_view: DataView) -> None:
    """Neither a label nor a mask is in its key: only photos are."""
    reads: Mapping[str, str] = Facts.consumes(PredictedMasksParams(), tiny_view)
    assert reads == {"images": tiny_view.photo_key(sorted({*tiny_view.select, *tiny_view.test}))}


@pytest.mark.parametrize("probability", [0.0, 0.5, 0.9999])
def test_labels_are_the_classes_above_the_probability(
    probability: float, tiny_chain: Chain, tiny_view: DataView, calm_store: Store
) -> None:
    network = load_classifier(calm_store.folder(tiny_chain["classifier"].key))
    photo = np.asarray(tiny_view.dataset.image(tiny_view.test[0]))
    expected = np.flatnonzero(probabilities(network, photo, 512) > probability).tolist()
    assert predicted_labels(network, photo, None, probability, "cpu") == expected
    if probability == 0:
        assert len(expected) == len(tiny_view.dataset.classes)


def test_where_it_finds_nothing_all_is_background(
    tiny_chain: Chain, tiny_view: DataView, calm_store: Store, tmp_path: Path
) -> None:
    params = PredictedMasksParams(probability=1.0, scales=(1.0,), size=64)
    inputs = {"classifier": calm_store.folder(tiny_chain["classifier"].key)}
    work, done = tmp_path / "work", tmp_path / "done"
    work.mkdir()
    done.mkdir()
    stage = PredictedMasks(Context(params, inputs, tiny_view, 0, "cpu", 1, work, 1))
    for _ in range(stage.steps):
        stage.step()
    stage.finish(done)
    stage.close()
    masks = [read_mask(path) for path in done.glob("*.png")]
    assert len(masks) == len({*tiny_view.select, *tiny_view.test}) and not any(mask.any() for mask in masks)
