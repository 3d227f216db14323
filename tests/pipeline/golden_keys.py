"""The keys of every stage of every shipped study, on made-up data: what `golden_keys.json` holds.

    python tests/pipeline/golden_keys.py        write that file anew

A key names finished work on people's disks. It may change only with a stage's `version` or its parameters.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from wsss.config import Study, load_study
from wsss.data.view import DataView
from wsss.files import sha256_json
from wsss.pipeline.search.trials import Trial, sweep_trials

ROOT = Path(__file__).parents[2]
FILE = Path(__file__).with_suffix(".json")
STUDIES = sorted((ROOT / "tune_configs").glob("*.yaml"))


class MadeUpData(DataView):
    """Six images, whose fingerprints are the hash of their names, and some whose masks may teach."""

    def __init__(self) -> None:
        dataset = mock.Mock()
        dataset.labels.side_effect = lambda ids: np.ones((len(ids), 1), np.uint8)
        teach = tuple(f"t{number}" for number in range(125))
        super().__init__(dataset, ("a", "b"), ("c",), ("a", "d"), ("b", "e"), ("f",), teach)

    def image_key(self, ids: Sequence[str]) -> str:
        return sha256_json(["images", *sorted(ids)])

    def photo_key(self, ids: Sequence[str]) -> str:
        return sha256_json(["photos", *sorted(ids)])

    def mask_key(self, ids: Sequence[str]) -> str:
        return sha256_json(["masks", *sorted(ids)])


def study_keys(study: Study) -> dict[str, dict[str, str]]:
    """Return "sweep/arm" → label → key of the first trial of every arm.

    A study with a base starts from that study's own first trials.
    """
    data = MadeUpData()
    with (
        mock.patch("wsss.models.pretrained.weights._version", return_value="1"),
        mock.patch(
            "wsss.models.pretrained.weights._file_digest", side_effect=lambda file: sha256_json([file])
        ),
    ):
        kept: list[Trial] = []
        if study.base is not None:
            base = load_study(ROOT / "tune_configs" / f"{study.base.study}.yaml")
            kept = _trials(base, [], data)[study.base.sweep or base.sweeps[-1].name]
            kept = [trial for trial in kept if trial.info.arm in (study.base.arms or [trial.info.arm])]
        return {
            f"{sweep}/{trial.info.arm}": trial.keys
            for sweep, trials in _trials(study, kept, data).items()
            for trial in trials
        }


def _trials(study: Study, kept: list[Trial], data: DataView) -> dict[str, list[Trial]]:
    """Return sweep → the first trial of each of its arms, as if those had been kept."""
    found: dict[str, list[Trial]] = {}
    for sweep in study.sweeps:
        upstream = found[sweep.replicate] if sweep.replicate else kept
        first: dict[str, Trial] = {}
        for trial in sweep_trials(study, sweep, upstream, data, guess=True):
            first.setdefault(trial.info.arm, trial)
        kept = found[sweep.name] = list(first.values())
    return found


def all_keys() -> dict[str, Any]:
    return {file.name: study_keys(load_study(file)) for file in STUDIES}


if __name__ == "__main__":
    FILE.write_text(json.dumps(all_keys(), indent=1, sort_keys=True) + "\n")
