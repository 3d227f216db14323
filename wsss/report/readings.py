"""What is read of a trial's artefacts for a comparison: scores, hold-out mAP, where masks lie."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wsss.config.naming import HOLDOUT_MAP, HOLDOUT_SIZE
from wsss.config.stage import scored_as
from wsss.pipeline.chains.chain import PICTURES, scored_label
from wsss.report.origins import kind_of
from wsss.stages.kinds.scoring.pictures import OVERLAYS
from wsss.stages.kinds.scoring.scores import CONFUSIONS_FILE, SCORES_FILE
from wsss.store.folder_store import Store
from wsss.store.ledger import TrialRecord

Counts = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Score:
    """What the score of one step of one trial says of the images that are reported, and of those that chose.

    Args:
        content: its scores.json.
        part: the part that is reported, `report` or `test`.
        counts: int32[N, C+1, C+1], each reported image's confusion matrix, the truth in its rows.
        ids: of the N reported images.
        select: int32[M, C+1, C+1] of the `select` images; None where they were not read or scored.
        chosen_on: ids of the M `select` images.
    """

    content: Mapping[str, Any]
    part: str
    counts: Counts
    ids: list[str]
    select: Counts | None
    chosen_on: list[str]

    @property
    def reported(self) -> Mapping[str, Any]:
        """The numbers of the part that is reported."""
        found: Mapping[str, Any] = self.content[self.part]
        return found

    def same_images(self, other: Score) -> bool:
        """Whether two scores are of the same part, images, classes and masks, so that they may be compared.

        What a mask holds of each class is what its confusions' rows add up to, whatever was predicted.
        """
        mine = (self.part, self.ids, self.content["classes"])
        same = mine == (other.part, other.ids, other.content["classes"])
        return same and np.array_equal(self.counts.sum(-1), other.counts.sum(-1))


Scores = Mapping[str, Score]
"""By step."""


def read_score(key: str, store: Store, *, select: bool = False) -> Score | None:
    """Return a score by its artefact's key; None where it is not there, or no longer whole.

    Args:
        key: of the score.
        store: where it is.
        select: whether the counts of the `select` images are read, too.
    """
    content = store.read_json(key, SCORES_FILE)
    confusions = None if content is None else store.read(key, CONFUSIONS_FILE)
    if content is None or confusions is None:
        return None
    part = "report" if "report" in content else "test"
    with np.load(io.BytesIO(confusions), allow_pickle=False) as arrays:
        if part not in arrays:
            return None
        chosen_on = arrays["select_ids"].tolist() if "select_ids" in arrays else []
        chosen = arrays["select"] if select and "select" in arrays else None
        return Score(content, part, arrays[part], arrays[f"{part}_ids"].tolist(), chosen, chosen_on)


def read_scores(trial: TrialRecord, store: Store) -> dict[str, Score]:
    """Return step → score of a trial."""
    keys = {step: key for label, key in trial.keys.items() if (step := scored_label(label))}
    found = {step: read_score(key, store) for step, key in keys.items()}
    return {step: score for step, score in found.items() if score is not None}


def holdout(group: Sequence[TrialRecord]) -> dict[str, float]:
    """Return classifier → mean hold-out mAP of a configuration's seeds."""
    ending = f"/{HOLDOUT_MAP}"
    names = dict.fromkeys(name for trial in group for name in trial.metrics if name.endswith(ending))
    return {
        name.removesuffix(ending): float(np.mean([t.metrics[name] for t in group if name in t.metrics]))
        for name in names
    }


def holdout_sizes(group: Sequence[TrialRecord]) -> dict[str, tuple[int, ...]]:
    """Return classifier → the long sides, in pixels, at which its mAP was measured, ascending."""
    ending = f"/{HOLDOUT_SIZE}"
    sizes: dict[str, set[int]] = {}
    for trial in group:
        for name, value in trial.metrics.items():
            if name.endswith(ending):
                sizes.setdefault(name.removesuffix(ending), set()).add(int(value))
    return {name: tuple(sorted(found)) for name, found in sizes.items()}


def masks_of(trial: TrialRecord, store: Store) -> dict[str, str]:
    """Return step → the folder of its masks, of steps whose files are still there."""
    found = {label: store.known(key) for label, key in trial.keys.items()}
    return {
        label: str(artefact.folder)
        for label, artefact in found.items()
        if artefact is not None
        and (how := scored_as(kind_of(artefact))) is not None
        and how.files == "masks"
        and not artefact.evicted
    }


def pictures_of(trial: TrialRecord, store: Store) -> dict[str, str]:
    """Return step → the file with some of its photos, of steps that nothing was compared with."""
    found = {}
    for label, key in trial.keys.items():
        artefact = store.known(key) if label.endswith(f".{PICTURES}") else None
        if artefact is not None and not artefact.evicted:
            found[label.removesuffix(f".{PICTURES}")] = str(artefact.folder / OVERLAYS)
    return found
