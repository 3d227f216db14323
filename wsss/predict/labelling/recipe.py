"""The study that `label` runs: from its photos to masks and a network, written as a file to go on from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wsss.config.naming import LONGEST_NAME
from wsss.config.text.yaml_text import dump_yaml
from wsss.files import sha256_json
from wsss.predict.labelling.photos import Photos

Quality = Literal["quick", "good"]
CLASSIFIER, NETWORK, MAPS, MASKS = "classifier", "network", "maps", "masks"
"""What the study calls the stages whose results are looked at."""
BATCH = 8
UNSURE, SURER, SURE = 6, 2, 1
"""Exponents of the background's score: where maps taught the head, where another head's masks did, where
drawn masks did. Maps miss parts of objects, and so the probabilities of what they taught are too low."""
LOOSE = {"bilateral_weight": 4}
"""A CRF for maps that are nearly right: the default one shrinks them."""


@dataclass(frozen=True)
class Effort:
    """How long is learnt, and how closely looked.

    Args:
        epochs: of the classifier.
        crop: its, in pixels.
        long_side: of photos it learns from, in pixels, at least and at most.
        size: long side of photos that maps are made of.
        cams: scales of the classifier's maps.
        scales: at which the pixel head looks at photos, to learn and later.
        iterations: updates of the pixel head.
    """

    epochs: int
    crop: int
    long_side: tuple[int, int]
    size: int
    cams: tuple[float, ...]
    scales: tuple[float, ...]
    iterations: int


EFFORT: dict[Quality, Effort] = {
    "quick": Effort(8, 288, (288, 448), 384, (1.0, 1.5), (1.0,), 400),
    "good": Effort(16, 320, (320, 512), 448, (0.75, 1.0, 1.5), (0.75, 1.0, 1.25), 1000),
}


@dataclass(frozen=True)
class Recipe:
    """A study: its name, and its file's text."""

    name: str
    text: str


def recipe(photos: Photos, quality: Quality, command: str) -> Recipe:
    """Return the study for these photos.

    A linear head on frozen features learns the labels. Then a pixel head on the same features learns where
    objects are: from masks that somebody drew, or else in two rounds, from maps of the first that a CRF
    refined, and from what that taught it. Its answer among the classes of a photo's labels, refined by a CRF,
    is the photo's mask. What each step is worth: `supervision_animals.yaml` in docs/results.md.

    Args:
        photos: the folder, its labels and masks.
        quality: `good` looks at photos at more sizes and learns longer.
        command: what was typed, for the file's head.
    """
    content = _content(photos, quality)
    name = f"label-{_plain(photos.root.name)}-{sha256_json(content)[:6]}"
    head = (
        f"# Written by `{command}`.\n"
        "#\n"
        "# To go deeper, change it under another name, look at what it costs (`plan`), and `run` it:\n"
        "#   docs/studies.md has every key, docs/own-data.md a way from here.\n"
    )
    return Recipe(name, head + dump_yaml({"name": name, **content}))


def _plain(name: str) -> str:
    """Return a folder's name as a study may have it."""
    found = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.") or "photos"
    return found[: LONGEST_NAME // 2]


def _content(photos: Photos, quality: Quality) -> dict[str, Any]:
    effort = EFFORT[quality]
    data: dict[str, Any] = {"dataset": "folder", "root": str(photos.root)}
    if photos.labels is not None:
        data["labels"] = str(photos.labels)
    data |= {"classes": list(photos.classes), "train": "labelled", "holdout": photos.holdout}
    data |= {"masks": "none"} if not photos.drawn else {"masks": str(photos.masks)}
    if photos.drawn:
        data["teach"] = {"split": "masked"}
    classifier = {
        "as": CLASSIFIER,
        "method": "probe",
        "backbone": "efficientnet_lite0",
        "epochs": effort.epochs,
        "batch": max(2, min(BATCH, photos.learnt)),
        "lr": 0.02,
        "crop": effort.crop,
        "long_side": list(effort.long_side),
    }
    head = {"learns": "foreground", "scales": list(effort.scales), "iterations": effort.iterations}
    stages: list[dict[str, Any]] = [{"classifier": classifier}]
    if photos.drawn:
        head["supervision"] = {"masks": len(photos.drawn)}
    else:
        stages += [
            {"cams": {"size": effort.size, "scales": list(effort.cams)}},
            {"pseudo_masks": {"as": "seeds"}},
            {"pixel_head": {"as": "first", **head}},
            {"probabilities": {"as": "first_maps"}},
            {"pseudo_masks": {"as": "refined", "background_exponent": UNSURE, "crf": LOOSE}},
        ]
    masks = {"background_exponent": SURE} if photos.drawn else {"background_exponent": SURER, "crf": LOOSE}
    stages += [
        {"pixel_head": {"as": NETWORK, **head}},
        {"probabilities": {"as": MAPS}},
        {"pseudo_masks": {"as": MASKS, **masks}},
    ]
    return {"data": data, "sweeps": [{"name": "label", "stages": stages}]}


def check_same(path: Path, text: str, last: str) -> str:
    """Return why a study file may not be replaced; empty where it may.

    Args:
        path: the file.
        text: what would be written.
        last: what was written there last; empty where that isn't known.
    """
    try:
        there = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        return f"can't be read: {error}"
    return "" if there in (text, last) else "is there, and not as `label` has written it"
