"""Labels for affinities: the merge rule by hand, what is sure and what isn't, on toy maps and real photos."""

from __future__ import annotations

import numpy as np
import pytest

from wsss.config.params.stages import AffinityLabelsParams, CrfParams
from wsss.masks import affinity_labels as module
from wsss.masks.affinity_labels import affinity_labels, merge

NO_CRF = CrfParams(gaussian_weight=0, bilateral_weight=0, iterations=1)


def test_the_merge_rule_by_hand() -> None:
    sure_class = np.array([[0, 3, 3, 0, 5]], np.uint8)
    sure_background = np.array([[0, 0, 3, 3, 3]], np.uint8)
    # Both background; background wins; the class; neither is sure; the class of the strong mask.
    assert merge(sure_class, sure_background).tolist() == [[0, 0, 3, 255, 5]]


def test_a_ramp_of_cam_is_background_then_unsure_then_class() -> None:
    """Without a CRF: (1 − c)^4 < c above 0.2755, (1 − c)^32 > c below 0.0770."""
    cams = np.linspace(0, 1, 1001, dtype=np.float32)[None, None]
    rgb = np.zeros((1, 1001, 3), np.uint8)
    labels = affinity_labels(rgb, cams, [6], AffinityLabelsParams(crf=NO_CRF))[0]
    assert set(labels) == {0, 7, 255}
    assert (np.flatnonzero(labels == 255)[0], np.flatnonzero(labels == 7)[0]) == (77, 276)
    assert (np.diff(labels.astype(int)) != 0).sum() == 2


def test_thresholds_instead_of_exponents() -> None:
    cams = np.linspace(0, 1, 1001, dtype=np.float32)[None, None]
    params = AffinityLabelsParams(thresholds=(0.3, 0.05), crf=NO_CRF)
    labels = affinity_labels(np.zeros((1, 1001, 3), np.uint8), cams, [0], params)[0]
    assert [int((labels == value).sum()) for value in (0, 255, 1)] == [51, 250, 700]


def test_by_thresholds_a_class_is_never_overruled_by_background(monkeypatch: pytest.MonkeyPatch) -> None:
    """IRNet: background only where both masks show one. A CRF can let the masks disagree either way."""
    masks = {0.3: np.array([[0, 1, 1, 0]]), 0.05: np.array([[0, 0, 1, 1]])}
    monkeypatch.setattr(module, "_by_threshold", lambda rgb, cams, threshold, crf: masks[threshold])
    params = AffinityLabelsParams(thresholds=(0.3, 0.05))
    labels = affinity_labels(np.zeros((1, 4, 3), np.uint8), np.zeros((1, 1, 4), np.float32), [6], params)
    assert labels.tolist() == [[0, 7, 7, 255]]


def test_an_image_without_classes_is_background() -> None:
    empty = np.zeros((0, 4, 5), np.float32)
    assert not affinity_labels(np.zeros((4, 5, 3), np.uint8), empty, [], AffinityLabelsParams()).any()


def test_classes_keep_their_ids_and_edges_are_followed() -> None:
    rgb = np.zeros((40, 60, 3), np.uint8)
    rgb[:, 30:] = (220, 40, 40)
    cams = np.zeros((2, 40, 60), np.float32)
    cams[0, 10:30, 34:50] = 0.9  # inside the red half, not reaching its edge
    cams[1, :2, :2] = 0.02
    labels = affinity_labels(rgb, cams, [4, 9], AffinityLabelsParams(crf=CrfParams(bilateral_sigma=30)))
    assert set(np.unique(labels)) <= {0, 5, 10, 255}
    assert (labels[:, :25] != 5).all() and (labels[12:28, 36:48] == 5).all()


def test_labels_of_a_photo_of_two_colours_counted_by_hand() -> None:
    """Black and red halves of 30 × 40 pixels. All of red has a CAM of 0.2, but 0.9 in 20 × 16 pixels; so has
    a spot of 5 × 4 in the black.

    At 0.2 the strong background (0.8^4 = 0.41) wins and the weak one (0.8^32 = 0.0008) loses: unsure. The
    CRF gives the spot to the 1180 black pixels around it, and leaves the 880 of red, which all are alike.
    """
    rgb = np.zeros((40, 60, 3), np.uint8)
    rgb[:, 30:] = (220, 40, 40)
    cams = np.zeros((1, 40, 60), np.float32)
    cams[0, :, 30:] = cams[0, :5, :4] = 0.2
    cams[0, 10:30, 34:50] = 0.9
    for crf, counts in ((NO_CRF, [1180, 320, 900]), (CrfParams(), [1200, 320, 880])):
        labels = affinity_labels(rgb, cams, [4], AffinityLabelsParams(crf=crf))
        assert [int((labels == id).sum()) for id in (0, 5, 255)] == counts
    assert not labels[:, :30].any() and (labels[10:30, 34:50] == 5).all()


@pytest.mark.parametrize(("wrong", "message"), [
    ({"low": 32, "high": 4}, "`low` is 32, but must be below `high`, which is 4"),
    ({"thresholds": (0.05, 0.3)}, r"\[0.05, 0.3\], but must be \[higher, lower\]"),
])  # fmt: skip
def test_rules_that_make_no_sense_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AffinityLabelsParams.model_validate(wrong)
