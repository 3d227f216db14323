"""What a finished chain came to: its scores by name, and the files that people want to see."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wsss.config.params import ClassifierParams
from wsss.pipeline.chain import SCORES, SCORES_FILE, Chain
from wsss.pipeline.store import Store

PARTS = ("select", "report", "test", "published")
NUMBERS = (
    "miou",
    "miou_at_0.15",
    "miou_at_0.20",
    "threshold",
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
    result = Result()
    for node in chain.nodes:
        artefact = store.known(node.key)
        if artefact is not None and not artefact.evicted and node.stage == "classifier":
            artefact = store.get(node.key)  # its file is sent to MLflow, and must be on this machine
        if artefact is None or (node.is_score and artefact.evicted):
            continue
        if node.is_score:
            scores = store.read_json(node.key, SCORES_FILE)
            if scores is None:  # it has changed in this very moment, and is set aside
                result.lacking.append(node.label)
                continue
            scored = next(iter(node.inputs.values()))
            _add_scores(result, scored, scores)
            for name in artefact.record["files"]:
                if name.endswith(".png"):
                    result.files[f"{scored}/{name}"] = str(artefact.folder / name)
        elif isinstance(node.params, ClassifierParams) and node.params.end == node.params.epochs:
            for last in artefact.record["history"][-1:]:
                if "mAP" in last:
                    result.metrics[f"{node.label}/holdout/mAP"] = last["mAP"]
            if not artefact.evicted:
                result.files[f"{node.label}.safetensors"] = str(artefact.folder / "classifier.safetensors")
    return result


def unreported(result: Result) -> Result:
    """Return what may be shown of a trial that was stopped: nothing from images that are reported."""
    metrics = {
        name: value
        for name, value in result.metrics.items()
        if not re.search(r"/(report|published|test)/", name)
    }
    return Result(metrics)


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


__all__ = ["SCORES", "Result", "chain_result"]
