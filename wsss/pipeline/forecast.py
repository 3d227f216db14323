"""What a study is going to do: its trials, what exists, and how long such work took before."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from wsss.config import Study
from wsss.data.view import DataView
from wsss.pipeline.sampling import best_configurations
from wsss.pipeline.store import Store
from wsss.pipeline.study import StudyRun
from wsss.pipeline.trials import Trial, sweep_trials


def forecast(study: Study, data: DataView, store: Store) -> list[dict[str, Any]]:
    """Return one row per sweep, arm and stage: artefacts to make, found, and measured seconds.

    Which trials a later sweep starts from is known once the earlier one has ended; until then the
    first ones stand in for those that will be kept, so counts are right and keys are a guess.
    `each` is the mean of earlier artefacts of the same stage and parameters shape, or None.
    """
    speeds = _measured(store)
    kept_of: dict[str, list[Trial]] = {}
    kept: list[Trial] = []
    counted: set[str] = set()
    rows = []
    for sweep in study.sweeps:
        upstream = kept_of[sweep.replicate] if sweep.replicate else kept
        trials = sweep_trials(study, sweep, upstream, data)
        for arm in dict.fromkeys(trial.info.arm for trial in trials):
            mine = [trial for trial in trials if trial.info.arm == arm]
            rows.extend(_arm_rows(sweep.name, arm, mine, store, speeds, counted))
        kept = kept_of[sweep.name] = _stand_ins(sweep, trials)
    return rows


def _stand_ins(sweep: Any, trials: list[Trial]) -> list[Trial]:
    if not sweep.metric:
        return trials
    kept: list[Trial] = []
    for arm in dict.fromkeys(trial.info.arm for trial in trials):
        mine = [trial for trial in trials if trial.info.arm == arm]
        names = list(dict.fromkeys(trial.configuration for trial in mine))
        equal = {number: [0.0] for number in range(len(names))}
        chosen = {names[n] for n in best_configurations(equal, StudyRun.keep_of(sweep, arm))}
        kept.extend(trial for trial in mine if trial.configuration in chosen)
    return kept


def _arm_rows(
    sweep: str,
    arm: str,
    trials: list[Trial],
    store: Store,
    speeds: dict[str, list[float]],
    counted: set[str],
) -> list[dict[str, Any]]:
    todo: dict[str, int] = defaultdict(int)
    found: dict[str, int] = defaultdict(int)
    stages: dict[str, str] = {}
    for trial in trials:
        pending = {node.key for node in trial.chain.pending(store)}
        for node in trial.chain.nodes:
            if node.key in counted:
                continue
            counted.add(node.key)
            stages[node.label] = node.stage
            (todo if node.key in pending else found)[node.label] += 1
    rows = []
    for label, stage in stages.items():
        each = float(np.mean(speeds[stage])) if speeds.get(stage) else None
        rows.append(
            {
                "sweep": sweep,
                "arm": arm,
                "trials": len(trials),
                "stage": label,
                "to_make": todo[label],
                "in_storage": found[label],
                "each": each,
                "seconds": None if each is None and todo[label] else (each or 0.0) * todo[label],
            }
        )
    return rows


def _measured(store: Store) -> dict[str, list[float]]:
    """Return stage → seconds of every artefact of it that was ever made on this storage."""
    speeds: dict[str, list[float]] = defaultdict(list)
    for artefact in store:
        speeds[artefact.stage].append(float(artefact.record["seconds"]))
    return speeds
