"""The results of a finished chain: its scores by name, and the files that people look at."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from wsss.config.naming import is_reported
from wsss.config.stage import STAGES
from wsss.pipeline.chains.chain import PICTURES, SCORES, Chain, scored_label
from wsss.pipeline.events import TrialProgress, recorded_steps
from wsss.stages.kinds.scoring.scores import SCORES_FILE
from wsss.store.folder_store import Store

PARTS = ("select", "report", "test", "published")
NUMBERS = (
    "miou",
    "miou_at_0.15",
    "miou_at_0.20",
    "threshold",
    "area",
    "pxap",
    "floor",
    "precision",
    "recall",
    "pixel_accuracy",
    "boundary_f",
    "false_positive",
    "false_negative",
    "confused",
)


@dataclass(frozen=True)
class Result:
    """`metrics` are named like "cams/select/miou"; the next two as in `TrialFinished`. `lacking` names scores
    that are known and can't be read."""

    metrics: dict[str, float] = field(default_factory=dict)
    per_class: dict[str, dict[str, float]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    lacking: list[str] = field(default_factory=list)


def chain_result(chain: Chain, store: Store) -> Result:
    """Collect the scores of a chain whose artefacts exist."""
    return recorded_result({node.label: node.key for node in chain.nodes}, store)


def recorded_result(keys: Mapping[str, str], store: Store) -> Result:
    """Collect the scores of a chain that is known by its labels and keys alone, as a ledger has them."""
    result = Result()
    for label, key in keys.items():
        artefact = store.known(key)
        kind = None if artefact is None else STAGES.get(artefact.stage)
        if artefact is not None and kind is not None and not artefact.evicted and kind.shown(artefact.record):
            artefact = store.get(key)  # its files are sent to MLflow, and must be on this machine
        if artefact is None or (artefact.stage == SCORES and artefact.evicted):
            continue
        if artefact.stage == SCORES:
            scores = store.read_json(key, SCORES_FILE)
            if scores is None:  # it has changed in this very moment, and is set aside
                result.lacking.append(label)
                continue
            scored = scored_label(label)
            _add_scores(result, scored, scores)
            for name in artefact.record["files"]:
                if name.endswith(".png"):
                    result.files[f"{scored}/{name}"] = str(artefact.folder / name)
        elif kind is not None:
            numbers = kind.results(artefact.record)
            result.metrics.update({f"{label}/{name}": value for name, value in numbers.items()})
            if not artefact.evicted:
                files = kind.shown(artefact.record)
                named = label.removesuffix(f".{PICTURES}")
                result.files.update({named + end: str(artefact.folder / name) for end, name in files.items()})
    return result


def own_steps(
    trial: str, keys: Mapping[str, str], others: Collection[str], store: Store, *, half_made: bool = False
) -> tuple[TrialProgress, ...]:
    """Return all steps of a trial's artefacts, without those whose keys are among `others`.

    Args:
        trial: the trial's id.
        keys: label → key of its artefacts.
        others: keys of artefacts that belong to another trial, its upstream's above all.
        store: where their records are.
        half_made: whether to tell of what isn't finished, too, as far as the newest checkpoint on this
            machine goes.
    """
    found: list[TrialProgress] = []
    for label, key in keys.items():
        if key in others:
            continue
        artefact = store.known(key)
        if artefact is not None:
            about: Mapping[str, Any] = artefact.record
        elif half_made:
            about = store.partial(key).progress()
        else:
            continue
        history = about.get("history") or ()
        found += recorded_steps(trial, label, history, about.get("times") or (), len(history))
    return tuple(found)


def unreported(result: Result) -> Result:
    """Return the results of a stopped trial that may be shown: none from reported images."""
    return Result({name: value for name, value in result.metrics.items() if not is_reported(name)})


def _add_scores(result: Result, label: str, scores: Mapping[str, Any]) -> None:
    for part in PARTS:
        content = scores.get(part)
        if not content:
            continue
        for name in NUMBERS:
            if content.get(name) is not None:
                result.metrics[f"{label}/{part}/{name}"] = float(content[name])
        if "iou" in content and part != "published":
            result.per_class[f"{label}/{part}"] = {
                name: float(value) for name, value in content["iou"].items() if value is not None
            }
