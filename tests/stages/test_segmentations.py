"""Masks of photos without labels, and what they are compared with."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from wsss.config.params.stages import SegmentationsParams
from wsss.data.view import DataView
from wsss.errors import ConfigError
from wsss.files import read_json
from wsss.masks.crf import probabilities_to_mask_with_crf
from wsss.masks.images import read_mask
from wsss.masks.segmentation import segment
from wsss.metrics import confusion, miou
from wsss.pipeline.chains.chain import Chain
from wsss.pipeline.past.results import chain_result
from wsss.stages.kinds.scoring.scores import Scores as ScoresKind
from wsss.stages.kinds.scoring.scores import ScoresParams
from wsss.stages.kinds.segmentations import Segmentations as SegmentationsKind
from wsss.stages.training.segmentation_network import load_segmenter
from wsss.store.folder_store import Store


def test_every_select_and_test_image_has_a_mask_made_as_asked(
    tiny_chain: Chain, tiny_view: DataView, calm_store: Store
) -> None:
    folder = calm_store.folder(tiny_chain["segmentations"].key)
    ids = sorted({*tiny_view.select, *tiny_view.test})
    assert sorted(path.stem for path in folder.glob("*.png")) == ids
    network = load_segmenter(calm_store.folder(tiny_chain["segmenter"].key))
    params = tiny_chain["segmentations"].params
    assert isinstance(params, SegmentationsParams) and params.crf is not None
    for id in (tiny_view.select[0], tiny_view.test[-1]):
        photo = np.asarray(tiny_view.dataset.image(id))
        scores = segment(network, photo, scales=(1.0, 0.5), flip=True, device="cpu")
        expected = probabilities_to_mask_with_crf(photo, scores, params.crf)
        assert np.mean(read_mask(folder / f"{id}.png") == expected) > 0.99


def test_scores_are_those_of_all_pixels_of_select_and_test(
    tiny_chain: Chain, tiny_view: DataView, calm_store: Store
) -> None:
    folder = calm_store.folder(tiny_chain["segmentations"].key)
    scored = calm_store.folder(tiny_chain["segmentations.scores"].key)
    scores = read_json(scored / "scores.json")
    assert scores["kind"] == "segmentations" and scores["classes"] == list(tiny_view.dataset.classes)
    assert not {"report", "published"} & set(scores)
    classes = len(tiny_view.dataset.classes)
    with np.load(scored / "confusions.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {
            *("select", "select_ids", "select_outlines"),
            *("test", "test_ids", "test_outlines"),
        }
        for part, ids in (("select", tiny_view.select), ("test", tiny_view.test)):
            assert tuple(arrays[f"{part}_ids"]) == ids
            truths = [tiny_view.dataset.mask(id) for id in ids]
            counted = [
                confusion(truth, read_mask(folder / f"{id}.png"), classes)
                for id, truth in zip(ids, truths, strict=True)
            ]
            assert np.array_equal(arrays[part], counted)
            content = scores[part]
            assert content["miou"] == pytest.approx(miou(np.sum(counted, 0)))
            assert content["images"] == len(ids) and "threshold" not in content
            assert set(content["iou"]) == {"background", *tiny_view.dataset.classes}
            assert "pixel_accuracy" in content and "boundary_f" in content
            nothing = [confusion(truth, np.zeros_like(truth), classes) for truth in truths]
            assert content["floor"] == pytest.approx(miou(np.sum(nothing, 0))), "it knows no labels"


def test_metrics_are_named_by_part(tiny_chain: Chain, calm_store: Store) -> None:
    result = chain_result(tiny_chain, calm_store)
    names = {name for name in result.metrics if name.startswith("segmentations/")}
    assert {"segmentations/select/miou", "segmentations/test/miou", "segmentations/test/floor"} <= names
    assert not any("/report/" in name for name in names)
    assert "segmentations/test" in result.per_class


def test_scores_of_other_kinds_look_at_what_they_always_did(tiny_view: DataView) -> None:
    for kind in ("cams", "pseudo_masks"):
        used = ScoresKind.consumes(ScoresParams.model_validate({"kind": kind}), tiny_view)
        expected = {
            "select": tiny_view.mask_key(tiny_view.select),
            "report": tiny_view.mask_key(tiny_view.report),
        }
        assert used == expected


def test_labels_are_not_read(tiny_view: DataView, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(self: object, ids: object) -> None:
        raise AssertionError("labels were read")

    fresh = dataclasses.replace(tiny_view, _keys={})
    monkeypatch.setattr(type(tiny_view.dataset), "labels", forbidden)
    assert SegmentationsKind.consumes(SegmentationsParams(), fresh)
    assert ScoresKind.consumes(ScoresParams(kind="segmentations"), fresh)


def test_without_test_images_it_says_so(tiny_view: DataView) -> None:
    with pytest.raises(ConfigError, match=r"`data.test`, which is missing"):
        SegmentationsKind.consumes(SegmentationsParams(), dataclasses.replace(tiny_view, test=()))
