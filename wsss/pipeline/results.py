"""What a finished chain came to: its scores by name, and the files that people want to see."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wsss.config.params import ClassifierParams
from wsss.files import read_json
from wsss.pipeline.chain import SCORES, Chain
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
    """`metrics` are named like "cams/select/miou"; the other two as in `TrialFinished`."""

    metrics: dict[str, float] = field(default_factory=dict)
    per_class: dict[str, dict[str, float]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


def chain_result(chain: Chain, store: Store) -> Result:
    """Collect the scores of a chain whose artefacts exist."""
    result = Result()
    for node in chain.nodes:
        artefact = store.known(node.key)
        if artefact is not None and not artefact.evicted:
            # Files are read or sent to MLflow: they must be on this machine.
            artefact = store.get(node.key) if node.is_score or node.stage == "classifier" else artefact
        if artefact is None:
            continue
        if node.is_score:
            scored = next(iter(node.inputs.values()))
            _add_scores(result, scored, read_json(artefact.folder / "scores.json") or {})
            for name in artefact.record["files"]:
                if name.endswith(".png"):
                    result.files[f"{scored}/{name}"] = str(artefact.folder / name)
        elif isinstance(node.params, ClassifierParams) and node.params.end == node.params.epochs:
            last = artefact.record["history"][-1]
            if "mAP" in last:
                # Records without a size are of a time when it was that of the crops.
                result.metrics[f"{node.label}/holdout/mAP"] = last["mAP"]
                result.metrics[f"{node.label}/holdout/size"] = last.get("mAP_size", float(node.params.crop))
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
