"""A useless result is said aloud, and a useful one is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wsss.config.stage import STAGES
from wsss.masks.census import MaskCensus, is_boxes
from wsss.masks.images import write_mask
from wsss.metrics import mean_average_precision
from wsss.metrics.chance import guessed_average_precision
from wsss.report.doubts import (
    Maker,
    agreement_doubts,
    classifier_doubts,
    floor_doubts,
    mask_doubts,
    mask_lines,
    share_line,
    threshold_doubts,
)
from wsss.report.study_doubts import _maker
from wsss.stages.kinds.training.segmenter import Segmenter
from wsss.store.artefact import Artefact

CLASSES = ("cat", "dog", "sheep")
ROWS, COLUMNS = np.mgrid[:40, :60]


def disc(id: int, radius: float = 12) -> np.ndarray:
    return np.where(radius**2 > (ROWS - 20) ** 2 + (COLUMNS - 30) ** 2, id, 0).astype(np.uint8)


def box(id: int) -> np.ndarray:
    mask = np.zeros((40, 60), np.uint8)
    mask[5:30, 10:50] = id
    return mask


def census(*masks: np.ndarray) -> MaskCensus:
    found = MaskCensus(CLASSES)
    for mask in masks:
        found.add(mask)
    return found


def found(masks: MaskCensus, made_by: Maker = "network") -> list[str]:
    return [doubt.found for doubt in mask_doubts(masks, made_by)]


def test_masks_of_objects_are_not_doubted() -> None:
    assert found(census(*(disc(1 + n % 3) for n in range(12)))) == []
    assert found(census()) == []


def test_masks_without_objects_are_counted() -> None:
    nothing = np.zeros((40, 60), np.uint8)
    assert found(census(*[nothing] * 12)) == ["no object in 12 of 12 photos"]
    some = census(*[nothing] * 4, *(disc(1 + n % 3) for n in range(8)))
    assert found(some) == [], "photos of anything may show no object"
    assert found(some, "refinement") == ["no object in 4 of 12 photos"], "photos with a label do show one"


def test_a_background_nearly_everywhere_is_said() -> None:
    dot = np.zeros((40, 60), np.uint8)
    dot[3, 4:6] = 1
    assert found(census(*[dot] * 2)) == ["the background takes 99.9% of all pixels"]


def test_one_class_everywhere_is_said_with_its_share() -> None:
    full = np.full((40, 60), 2, np.uint8)
    full[:1, :48] = 0  # 48 of 2400 pixels
    assert found(census(*[full] * 4)) == ["one class takes 98% of all pixels: dog"]


def test_one_class_alone_among_several_is_said() -> None:
    assert found(census(*[disc(3)] * 5)) == ["one class takes 100% of all that is labelled: sheep"]
    alone = MaskCensus(["sheep"])
    for _ in range(5):
        alone.add(disc(1))
    assert found(alone) == [], "there is but one class"
    assert found(census(disc(3))) == [], "one photo says nothing of classes"


def test_boxes_are_told_from_objects() -> None:
    assert is_boxes(box(1)) and not is_boxes(disc(1))
    two = box(1)
    two[32:38, 40:58] = 2
    assert is_boxes(two)
    assert not is_boxes(np.where(disc(2) > 0, 2, box(1) * (disc(2, 14) == 0)).astype(np.uint8))
    assert not is_boxes(np.full((40, 60), 1, np.uint8)), "a mask that is full has no shape"
    assert not is_boxes(np.where(box(1) > 0, 255, 0).astype(np.uint8)), "of 255 nothing is known"
    assert found(census(*(box(1 + n % 3) for n in range(9)), disc(1), disc(2), disc(3))) == [
        "9 of 12 masks are boxes"
    ]


def test_large_masks_are_thinned_out_before_shapes_are_looked_at() -> None:
    large = np.kron(disc(1), np.ones((60, 60), np.uint8))
    assert not is_boxes(large) and is_boxes(np.kron(box(1), np.ones((60, 60), np.uint8)))


def test_shares_are_means_over_photos_whatever_their_size() -> None:
    small = np.array([[0, 1], [1, 1]], np.uint8)
    large = np.zeros((100, 100), np.uint8)
    large[:50] = 2
    large[50:75] = 255
    counted = census(small, large)
    third = (1 / 4 + 1 / 3) / 2
    expected = {"background": third, "cat": 3 / 8, "dog": (2 / 3) / 2, "sheep": 0.0}
    assert counted.shares == pytest.approx(expected)
    assert share_line(counted) == "background 29 %, cat 38 %, dog 33 %; 1 of 3 classes nowhere"


def test_the_lines_of_mask_files_end_in_what_to_try_next(tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.png" for n in range(3)]
    for path in paths:
        write_mask(path, np.zeros((4, 6), np.uint8))
    shares, warning = mask_lines(paths, CLASSES)
    assert shares == "Shares of 3 masks: background 100 %; 3 of 3 classes nowhere"
    assert warning.startswith("warning: no object in 3 of 3 photos. Next: ")
    assert mask_lines([], CLASSES) == []


def test_what_guesses_reach_is_what_guesses_of_another_library_reach() -> None:
    generator = np.random.default_rng(1)
    labels = (generator.random((30, 3)) < [0.1, 0.3, 0.7]).astype(int)
    labels = np.concatenate([labels, np.zeros((30, 1), int)], axis=1)  # nobody has the last class
    drawn = [mean_average_precision(generator.random(labels.shape), labels) for _ in range(300)]
    mean, most = guessed_average_precision(labels) or (0, 0)
    assert mean == pytest.approx(np.mean(np.array(drawn, float)), abs=0.02)
    assert most == pytest.approx(np.quantile(np.array(drawn, float), 0.95), abs=0.03)


def test_a_classifier_that_guesses_is_doubted_and_one_that_knows_is_not() -> None:
    labels = np.tile([[1, 0], [0, 1]], (10, 1))
    (doubt,) = classifier_doubts(0.55, labels)
    assert "hold-out mAP is 0.55, and guesses reach 0.5" in doubt.found
    assert classifier_doubts(0.9, labels) == []
    (same,) = classifier_doubts(1.0, np.ones((7, 1), int))
    assert same.found == "all 7 hold-out photos have the same labels"


@pytest.mark.parametrize(
    ("threshold", "edge"), [(0.0, "lower"), (0.01, "lower"), (0.58, "upper"), (0.59, "upper")]
)
def test_a_threshold_at_the_edge_of_its_range_is_doubted(threshold: float, edge: str) -> None:
    (doubt,) = threshold_doubts(threshold)
    assert f"{edge} edge" in doubt.found and f"{threshold:.2f}" in doubt.found


def test_a_threshold_inside_is_not() -> None:
    assert threshold_doubts(0.02) == threshold_doubts(0.3) == threshold_doubts(0.57) == []


def test_scores_that_need_no_network_are_doubted() -> None:
    assert len(agreement_doubts(0.2, 0.2)) == len(floor_doubts(0.3, 0.3)) == 1
    assert agreement_doubts(0.5, 0.2) == floor_doubts(0.31, 0.3) == []


@pytest.mark.parametrize(
    ("stage", "read", "next_"),
    [
        ("segmentations", ["segmenter"], "segmenter: {epochs"),
        ("predicted_masks", ["classifier"], "`probability`"),
        ("pseudo_masks", ["cams"], "background_exponent"),
        ("command", ["cams"], "the program's own settings"),
        ("import", [], "the program's own settings"),
        ("of_a_package_that_is_gone", [], "the program's own settings"),
    ],
)
def test_what_to_try_next_is_of_the_stage_that_made_the_masks(
    stage: str, read: list[str], next_: str, tmp_path: Path
) -> None:
    record = {"stage": stage, "inputs": {kind: {} for kind in read}}
    made_by = _maker(Artefact("0" * 32, tmp_path, record))
    (doubt,) = mask_doubts(census(*[np.zeros((40, 60), np.uint8)] * 9), made_by)
    assert doubt.found == "no object in 9 of 9 photos" and next_ in doubt.advice


def test_a_network_of_another_package_that_segments_has_made_the_masks(tmp_path: Path) -> None:
    class Own(Segmenter):
        name = "own_segmenter"

    record = {"stage": "segmentations", "inputs": {"own_segmenter": {}}}
    with STAGES.replaced(Own):
        assert _maker(Artefact("0" * 32, tmp_path, record)) == "network"
