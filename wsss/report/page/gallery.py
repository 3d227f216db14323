"""The same photos across arms and steps: CAM, mask, ground truth, and where a mask is wrong."""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from wsss.config import Study
from wsss.config.stage import scored_as
from wsss.data.view import DataView, open_data
from wsss.errors import WsssError, first_line
from wsss.labels import IGNORED
from wsss.masks.images import overlay
from wsss.metrics import iou
from wsss.metrics.confusion import mean_present
from wsss.pipeline.chains.chain import score_label
from wsss.report.origins import kind_of
from wsss.report.page.content import Content
from wsss.report.page.figures import step_name
from wsss.report.readings import read_score
from wsss.stages.kinds.scoring.scores import SCORES_FILE
from wsss.stages.scoring.masks import ArtefactMasks

PHOTOS = 8
SIDE = 240
"""Longest side of a picture, in pixels."""
WRONG = {"extra": (213, 94, 0), "missed": (0, 114, 178), "other": (230, 159, 0), "right": (0, 158, 115)}
"""Colours of an error map: background taken for a class; the other way round; another class; right."""
NOT_KEPT = "No CAMs or masks are kept in the storage; `retain: all` keeps them."
NO_RESULT = "No trial has come to a result, so that there are no masks to look at."

Rgb = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Card:
    """One arm's result of a step on a photo: pictures as data addresses; `cam` and `errors` may be empty."""

    title: str
    step: str
    cam: str
    mask: str
    errors: str


@dataclass(frozen=True)
class Shown:
    """A photo with its cards. `truth` is empty where there is none; `place` says why it was chosen."""

    id: str
    place: str
    labels: str
    photo: str
    truth: str
    cards: tuple[Card, ...]

    @property
    def arms(self) -> list[tuple[str, tuple[Card, ...]]]:
        """The cards of each arm, whose steps follow each other."""
        return [
            (title, tuple(cards)) for title, cards in itertools.groupby(self.cards, lambda card: card.title)
        ]

    @property
    def steps(self) -> int:
        """The most that one arm shows."""
        return max((len(cards) for _, cards in self.arms), default=1)


@dataclass(frozen=True)
class Gallery:
    """Photos of one study. `missing` says why there are none."""

    study: str
    photos: tuple[Shown, ...]
    missing: str = ""


def galleries(content: Content) -> list[Gallery]:
    """Return the gallery of every study whose photos can be read."""
    found = []
    for name, study in content.studies.items():
        try:
            data = open_data(study.data, storage=content.storage.local, verify=False)
        except (WsssError, OSError) as error:
            found.append(Gallery(name, (), f"The photos can't be read any more: {first_line(error)}"))
            continue
        photos = [one for step in _parts(content, name) for one in _photos(content, study, data, step)]
        ended = any(row.study == name and row.status == "done" for row in content.comparison.rows)
        missing = NOT_KEPT if ended else NO_RESULT
        found.append(Gallery(name, tuple(photos), "" if photos else missing))
    return found


def _parts(content: Content, study: str) -> list[tuple[str, ...]]:
    """Return the steps that were scored on the same images, together."""
    groups: dict[tuple[str, ...], list[str]] = {}
    steps = [step for row in content.comparison.rows if row.study == study for step in row.cells]
    for step in dict.fromkeys(steps or _unscored_steps(content, study)):
        ids = _ranked(content, study, step)
        groups.setdefault(tuple(sorted(ids)), []).append(step)
    return [tuple(steps) for steps in groups.values()]


def _unscored_steps(content: Content, study: str) -> list[str]:
    labels = [label for _, row, trial in content.rows() if row.study == study for label in trial.keys]
    return [label for label in dict.fromkeys(labels) if _files(content, label, study)]


def _files(content: Content, label: str, study: str) -> bool:
    """Whether a label is a stage whose maps or masks can be shown."""
    for _, row, trial in content.rows():
        artefact = content.store.known(trial.keys.get(label, "")) if row.study == study else None
        if artefact is not None and scored_as(kind_of(artefact)) is not None:
            return True
    return False


def _ranked(content: Content, study: str, step: str) -> dict[str, float]:
    """Return the images of a step's score by the mIoU of the baseline's mask, worst first."""
    comparison = content.comparison
    rows = [one for one in content.rows() if one[1].study == study]
    rows.sort(key=lambda one: one[1].arm != comparison.baseline)
    for _, _, trial in rows:
        score = read_score(trial.keys.get(score_label(step), ""), content.store)
        if score is None:
            continue
        values = mean_present(iou(score.counts))
        order = np.argsort(np.nan_to_num(values, nan=2.0), kind="stable")
        return {score.ids[number]: float(values[number]) for number in order}
    return {}


def _photos(content: Content, study: Study, data: DataView, steps: Sequence[str]) -> list[Shown]:
    ranked = _ranked(content, study.name, steps[0])
    chosen = _chosen(ranked) if ranked else dict.fromkeys(sorted(data.labelled_ids)[:PHOTOS], "")
    sources = [
        (title, step, source)
        for title, row, trial in content.rows()
        if row.study == study.name
        for step in steps
        if (source := _source(content, trial.keys, step)) is not None
    ]
    shown = []
    for id, place in chosen.items():
        try:
            rgb = data.photo(id)
            truth = data.dataset.mask(id) if ranked else None
        except (WsssError, OSError):
            continue
        pictures = [(title, step, source.read(id, rgb.shape[:2])) for title, step, source in sources]
        cards = [
            _card(title, step, rgb, found, truth) for title, step, found in pictures if found is not None
        ]
        if cards:
            labels = ", ".join(np.asarray(data.dataset.classes)[data.dataset.labels([id])[0] > 0])
            right = "" if truth is None else _address(np.asarray(overlay(rgb, truth)))
            shown.append(Shown(id, place, labels, _address(rgb), right, tuple(cards)))
    return shown


def _chosen(ranked: Mapping[str, float]) -> dict[str, str]:
    """Return the worst three, the middle two and the best three images, each with its place."""
    ids = list(ranked)
    if len(ids) <= PHOTOS:
        return {id: f"mIoU {100 * ranked[id]:.0f} %" for id in ids}
    middle = len(ids) // 2 - 1
    places = {"worst": ids[:3], "middle": ids[middle : middle + 2], "best": ids[-3:]}
    return {id: f"{place}, mIoU {100 * ranked[id]:.0f} %" for place, some in places.items() for id in some}


@dataclass(frozen=True)
class _Source:
    """A step's masks; where it makes CAMs, they are cut at the threshold chosen for them."""

    masks: ArtefactMasks
    threshold: float

    def read(self, id: str, size: tuple[int, ...]) -> tuple[npt.NDArray[Any] | None, Rgb] | None:
        """Return (strongest CAM float[H, W] or None, mask uint8[H, W]); None where there is no result."""
        if id not in self.masks:
            return None
        maps, mask = self.masks.maps(id), self.masks.mask(id, size, self.threshold)
        if maps is None:
            return None, mask
        return maps.max(0).astype(np.float32) if len(maps) else np.zeros(size, np.float32), mask


def _source(content: Content, keys: Mapping[str, str], step: str) -> _Source | None:
    artefact = content.store.get(keys.get(step, ""))
    how = None if artefact is None else scored_as(kind_of(artefact))
    if artefact is None or how is None:
        return None
    scores = content.store.read_json(keys.get(score_label(step), ""), SCORES_FILE) or {}
    threshold = (scores.get("select") or {}).get("threshold", 0.3)
    return _Source(ArtefactMasks(artefact.folder, how), threshold)


def _card(
    title: str, step: str, rgb: Rgb, found: tuple[npt.NDArray[Any] | None, Rgb], truth: Rgb | None
) -> Card:
    cam, mask = found
    heat = "" if cam is None else _address(_heat(rgb, cam))
    wrong = "" if truth is None else _address(_errors(rgb, mask, truth))
    return Card(title, step_name(step), heat, _address(np.asarray(overlay(rgb, mask))), wrong)


def _heat(rgb: Rgb, cam: npt.NDArray[Any]) -> Rgb:
    """Return a photo with a map over it, from blue (0) over green to red (1)."""
    level = cam[..., None].clip(0, 1)
    colours = np.concatenate(
        [np.clip(3 * level - 1, 0, 1), 1 - abs(2 * level - 1), np.clip(2 - 3 * level, 0, 1)], -1
    )
    return (0.45 * rgb + 0.55 * 255 * colours).astype(np.uint8)


def _errors(rgb: Rgb, mask: Rgb, truth: Rgb) -> Rgb:
    """Return a grey photo with the pixels that are wrong, or rightly a class, in the colours of `WRONG`."""
    result = np.repeat(rgb.mean(-1, keepdims=True) * 0.6 + 60, 3, axis=-1)
    kinds = {
        "extra": (truth == 0) & (mask > 0),
        "missed": (truth > 0) & (mask == 0),
        "other": (truth > 0) & (mask > 0) & (truth != mask),
        "right": (truth > 0) & (truth == mask),
    }
    for kind, where in kinds.items():
        where = where & (truth != IGNORED)
        result[where] = 0.35 * result[where] + 0.65 * np.array(WRONG[kind])
    return result.astype(np.uint8)


def _address(rgb: Rgb) -> str:
    """Return a picture as a data address, at most `SIDE` pixels wide and high."""
    image = Image.fromarray(rgb)
    image.thumbnail((SIDE, SIDE), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=70)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
