"""What is read of a trial's artefacts for a comparison: scores, hold-out mAP, where masks lie."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wsss.config.stage import scored_as
from wsss.pipeline.chains.chain import PICTURES, SCORES_FILE
from wsss.report.origins import kind_of
from wsss.stages.kinds.scoring.pictures import OVERLAYS
from wsss.store.folder_store import Store
from wsss.store.ledger import TrialRecord

Score = Mapping[str, Any]
Scores = Mapping[str, Score]


def reported(score: Score) -> Mapping[str, Any]:
    """Return the part of a score that is reported."""
    found: Mapping[str, Any] = score["json"][score["part"]]
    return found


def read_scores(trial: TrialRecord, store: Store) -> dict[str, dict[str, Any]]:
    """Return step → {"json": scores.json, "part": "report" or "test", "counts": int32[N, C+1, C+1] of that
    part, "ids": N ids, "chosen_on": ids of the `select` images} of a trial."""
    found: dict[str, dict[str, Any]] = {}
    for label, key in trial.keys.items():
        content = store.read_json(key, SCORES_FILE) if label.endswith(".scores") else None
        confusions = None if content is None else store.read(key, "confusions.npz")
        if content is None or confusions is None:
            continue
        part = "report" if "report" in content else "test"
        with np.load(io.BytesIO(confusions), allow_pickle=False) as arrays:
            counts, ids = arrays[part], arrays[f"{part}_ids"].tolist()
            chosen_on = arrays["select_ids"].tolist() if "select_ids" in arrays else []
        step = label.removesuffix(".scores")
        found[step] = {"json": content, "part": part, "counts": counts, "ids": ids, "chosen_on": chosen_on}
    return found


def holdout(group: Sequence[TrialRecord]) -> dict[str, float]:
    """Return classifier → mean hold-out mAP of a configuration's seeds."""
    ending = "/holdout/mAP"
    names = dict.fromkeys(name for trial in group for name in trial.metrics if name.endswith(ending))
    return {
        name.removesuffix(ending): float(np.mean([t.metrics[name] for t in group if name in t.metrics]))
        for name in names
    }


def holdout_sizes(group: Sequence[TrialRecord]) -> dict[str, tuple[int, ...]]:
    """Return classifier → the long sides, in pixels, at which its mAP was measured, ascending."""
    sizes: dict[str, set[int]] = {}
    for trial in group:
        for name, value in trial.metrics.items():
            if name.endswith("/holdout/size"):
                sizes.setdefault(name.removesuffix("/holdout/size"), set()).add(int(value))
    return {name: tuple(sorted(found)) for name, found in sizes.items()}


def masks_of(trial: TrialRecord, store: Store) -> dict[str, str]:
    found = {label: store.known(key) for label, key in trial.keys.items()}
    return {
        label: str(artefact.folder)
        for label, artefact in found.items()
        if artefact is not None
        and (how := scored_as(kind_of(artefact))) is not None
        and how.files == "masks"
        and not artefact.evicted
    }


def same_images(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two scores are of the same part, images, classes and masks, so that they may be compared.

    What a mask holds of each class is what its confusions' rows add up to, whatever was predicted.
    """
    same = (
        all(one[name] == other[name] for name in ("part", "ids"))
        and one["json"]["classes"] == other["json"]["classes"]
    )
    return bool(same and np.array_equal(one["counts"].sum(-1), other["counts"].sum(-1)))


def pictures_of(trial: TrialRecord, store: Store) -> dict[str, str]:
    """Return step → the file with some of its photos, of steps that nothing was compared with."""
    found = {}
    for label, key in trial.keys.items():
        artefact = store.known(key) if label.endswith(f".{PICTURES}") else None
        if artefact is not None and not artefact.evicted:
            found[label.removesuffix(f".{PICTURES}")] = str(artefact.folder / OVERLAYS)
    return found
