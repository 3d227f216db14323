"""What a study is going to do: its trials, what exists, and how long such work took before."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from wsss.config import Study, Sweep
from wsss.data.view import DataView
from wsss.pipeline.ledger import Ledger, TrialRecord
from wsss.pipeline.results import chain_result
from wsss.pipeline.selection import kept_trials
from wsss.pipeline.store import Store
from wsss.pipeline.study import studies_folder, upstream_of
from wsss.pipeline.trials import Trial, sweep_trials


def forecast(study: Study, data: DataView, store: Store) -> list[dict[str, Any]]:
    """Return one row per sweep, arm and stage: artefacts to make, found, and measured seconds.

    Which trials a later sweep starts from is known once the earlier one has ended; until then the
    first ones stand in for those that will be kept, and random configurations for those that a search
    will ask for, so counts are right and keys are a guess. Trials that were stopped have nothing left
    to make; which others will be stopped nobody knows.
    `each` is the mean of earlier artefacts of the same stage and parameters shape, or None.
    """
    speeds = _measured(store)
    folder = studies_folder(study.storage) / study.name
    records = Ledger(folder).trials() if folder.is_dir() else {}
    kept_of: dict[str, list[Trial]] = {}
    kept = upstream_of(study, data)
    counted: set[str] = set()
    rows = []
    for sweep in study.sweeps:
        upstream = kept_of[sweep.replicate] if sweep.replicate else kept
        trials = sweep_trials(study, sweep, upstream, data, records, guess=True)
        trials = [trial for trial in trials if not _was_stopped(trial, records)]
        for arm in dict.fromkeys(trial.info.arm for trial in trials):
            mine = [trial for trial in trials if trial.info.arm == arm]
            rows.extend(_arm_rows(sweep.name, arm, mine, store, speeds, counted))
        kept = kept_of[sweep.name] = _kept(sweep, trials, store)
    return rows


def _was_stopped(trial: Trial, records: Mapping[str, TrialRecord]) -> bool:
    known = records.get(trial.info.id)
    return known is not None and known.status == "stopped" and known.keys == trial.keys


def _kept(sweep: Sweep, trials: list[Trial], store: Store) -> list[Trial]:
    """Return the trials that go on, or as many stand-ins while some of the sweep are unfinished."""
    if any(trial.chain.pending(store) for trial in trials):
        level = {sweep.metric: 0.0} if sweep.metric else {}
        return kept_trials(sweep, trials, {trial.info.id: level for trial in trials})
    metrics = {trial.info.id: chain_result(trial.chain, store).metrics for trial in trials}
    return kept_trials(sweep, trials, metrics)


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
