"""What speaks against a result, and what to try next: a network that says background everywhere, a classifier
that guesses, masks that are boxes, a threshold at the edge of its range.

Each is a `Doubt`. `mask_doubts` and `mask_lines` need nothing but masks, so that verbs without a study say
the same as those with one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy.typing as npt

from wsss.masks.census import MaskCensus, census_of
from wsss.metrics import THRESHOLDS
from wsss.metrics.chance import guessed_average_precision

Maker = Literal["network", "classifier", "refinement", "program"]
"""Who made masks: a segmentation network, a classifier alone, the refinement of CAMs whose photos have
labels, or another program."""

MANY_EMPTY: dict[Maker, float] = {"network": 0.5, "classifier": 0.5, "refinement": 0.2, "program": 0.5}
"""Shares of masks without an object from which on it is said. Photos with labels do show one."""
FLOOD = 0.9
"""Mean share of a photo's pixels from which on one class floods masks."""
NOTHING = 0.98
"""The same of the background."""
ONE_CLASS = 0.95
"""Share of all labelled pixels from which on one of several classes stands alone."""
FEW = 3
"""Masks below which their shapes and classes say nothing."""
MANY_BOXES = 0.5
EDGE = 2
"""Thresholds at either end of the range that count as its edge."""
SHOWN = 8
"""Classes whose shares a line shows."""

LONGER = "train the network longer (`segmenter: {epochs: …}`)"
SETTINGS = "look at pictures of the masks in `report`, and at the program's own settings"
ADVICE: dict[str, dict[Maker, str]] = {
    "empty": {
        "network": f"look at the masks it learnt from; if they show objects, {LONGER}",
        "classifier": "a lower `probability` finds more classes; else train the classifier longer",
        "refinement": "twice the `background_exponent` makes the background smaller",
        "program": SETTINGS,
    },
    "flood": {
        "network": f"look at the masks it learnt from; if they are good, {LONGER}",
        "classifier": "half the `background_exponent` makes the background larger",
        "refinement": "half the `background_exponent` makes the background larger",
        "program": SETTINGS,
    },
    "one": {
        "network": f"if the photos show other classes too, {LONGER}, and look at how many photos each has",
        "classifier": "look at how many photos have each label: `data check FOLDER`",
        "refinement": "look at how many photos have each label: `data check FOLDER`",
        "program": SETTINGS,
    },
    "boxes": {
        "network": "look at the masks it learnt from: refine them with a CRF or a walk",
        "classifier": "CAMs are too coarse for the photos: larger `scales`",
        "refinement": "CAMs are too coarse for the photos: larger `cams: {scales: …}`, or a `walk`",
        "program": SETTINGS,
    },
}


@dataclass(frozen=True)
class Doubt:
    """What was found, and the next thing to try."""

    found: str
    advice: str

    def __str__(self) -> str:
        return f"{self.found}. Next: {self.advice}"


def mask_doubts(census: MaskCensus, made_by: Maker = "network") -> list[Doubt]:
    """Return what speaks against masks: no objects, one class everywhere, one class alone, boxes.

    Args:
        census: of the masks; of refined CAMs, of those alone whose photos have a label.
        made_by: decides what to try next.
    """
    photos, empty, shares = census.photos, census.empty, census.shares
    if not photos:
        return []
    found = []
    background = shares["background"]
    if empty > MANY_EMPTY[made_by] * photos:
        found.append(_doubt(f"no object in {empty} of {photos} photos", "empty", made_by))
    elif background >= NOTHING:
        found.append(_doubt(f"the background takes {background:.1%} of all pixels", "empty", made_by))
    largest = max(census.names[1:], key=lambda name: shares[name], default="background")
    objects = 1 - background
    if largest != "background" and shares[largest] >= FLOOD:
        found.append(
            _doubt(f"one class takes {shares[largest]:.0%} of all pixels: {largest}", "flood", made_by)
        )
    elif not found and photos >= FEW and len(census.names) > 2 and shares[largest] >= ONE_CLASS * objects > 0:
        share = shares[largest] / objects
        found.append(
            _doubt(f"one class takes {share:.0%} of all that is labelled: {largest}", "one", made_by)
        )
    if census.boxes >= max(FEW, MANY_BOXES * (photos - empty)):
        found.append(_doubt(f"{census.boxes} of {photos} masks are boxes", "boxes", made_by))
    return found


def _doubt(found: str, kind: str, made_by: Maker) -> Doubt:
    return Doubt(found, ADVICE[kind][made_by])


def share_line(census: MaskCensus) -> str:
    """Return the shares of background and classes in one line, the largest classes first."""
    shares = census.shares
    classes = sorted((name for name in census.names[1:] if shares[name]), key=lambda name: -shares[name])
    parts = [f"{name} {_percent(shares[name])}" for name in ("background", *classes[:SHOWN])]
    if classes[SHOWN:]:
        parts.append(f"{len(classes) - SHOWN} more {_percent(sum(shares[name] for name in classes[SHOWN:]))}")
    missing = len(census.names) - 1 - len(classes)
    nowhere = f"; {missing} of {len(census.names) - 1} classes nowhere" if missing else ""
    return f"{', '.join(parts)}{nowhere}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"


def mask_lines(paths: Sequence[Path], classes: Sequence[str], made_by: Maker = "network") -> list[str]:
    """Return what a verb prints of masks: their shares, and a line for each doubt; nothing without masks.

    Raises `DataError` for a file that is no mask.

    Args:
        paths: PNG files of ids.
        classes: the C names, without the background.
        made_by: decides what to try next.
    """
    census = census_of(paths, classes)
    if not census.photos:
        return []
    shares = f"Shares of {census.photos} masks: {share_line(census)}"
    return [shares, *(f"warning: {doubt}" for doubt in mask_doubts(census, made_by))]


def classifier_doubts(mean_ap: float, labels: npt.NDArray[Any]) -> list[Doubt]:
    """Return what speaks against a classifier: nothing to tell apart, or no better than guesses.

    Args:
        mean_ap: its mAP on the hold-out, in [0, 1].
        labels: {0, 1}[N, C] of the hold-out.
    """
    guessed = guessed_average_precision(labels)
    if guessed is None:
        advice = "add photos without the class: a classifier finds what tells the two apart"
        return [Doubt(f"all {len(labels)} hold-out photos have the same labels", advice)]
    mean, most = guessed
    if mean_ap > most:
        return []
    found = f"the classifier's hold-out mAP is {mean_ap:.2f}, and guesses reach {mean:.2f} to {most:.2f}"
    return [
        Doubt(found, "train it longer (`epochs`), with another `lr`, or look at the labels: `data check`")
    ]


def threshold_doubts(threshold: float) -> list[Doubt]:
    """Return what speaks against a CAM threshold: it lies at the edge of those that are tried.

    Args:
        threshold: chosen on `select`, in [0, 1].
    """
    low, high = THRESHOLDS[EDGE - 1], THRESHOLDS[-EDGE]
    if threshold <= low + 1e-9:
        advice = (
            "look at the CAMs: so low a threshold is best where maps miss most of the objects; train longer"
        )
        return [Doubt(f"the CAM threshold {threshold:.2f} is at the lower edge of its range", advice)]
    if threshold >= high - 1e-9:
        advice = (
            "look at the CAMs: so high a threshold is best where maps spill over; larger `cams: {size: …}`"
        )
        return [Doubt(f"the CAM threshold {threshold:.2f} is at the upper edge of its range", advice)]
    return []


def agreement_doubts(agreement: float, floor: float) -> list[Doubt]:
    """Return what speaks against a segmentation network: it agrees with masks as an empty one does.

    Args:
        agreement: its mIoU with hold-out pseudo masks, in [0, 1].
        floor: the mIoU of nothing but background with these masks.
    """
    if agreement > floor + 0.01:
        return []
    found = (
        f"the segmenter agrees with hold-out masks to {agreement:.0%} mIoU, and an empty mask to {floor:.0%}"
    )
    return [Doubt(found, LONGER)]


def floor_doubts(score: float, floor: float) -> list[Doubt]:
    """Return what speaks against a score: a box in the middle of each photo reaches it, too.

    Args:
        score: a mIoU in [0, 1].
        floor: that of the box, with the photo's first label.
    """
    if score > floor:
        return []
    advice = "train longer or with another `lr`: no network was needed for that"
    return [
        Doubt(f"{score:.1%} mIoU is no more than a box in the middle of each photo has ({floor:.1%})", advice)
    ]
