"""All that a page tells, read from ledger and store: nothing here knows how it will look."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wsss.config import Study
from wsss.config.text.location import Location
from wsss.metrics import THRESHOLDS
from wsss.pipeline.chains.chain import scored_label
from wsss.pipeline.past.stored_studies import find_study
from wsss.pipeline.search.budget import read_ledger
from wsss.report.compare import compare
from wsss.report.comparison import Comparison, Row
from wsss.report.words.titles import arm_title
from wsss.stages.kinds.scoring.scores import SCORES_FILE
from wsss.store.artefact import Artefact
from wsss.store.folder_store import Store
from wsss.store.ledger import TrialRecord
from wsss.store.storage import Storage, open_storage

LEARNING_CURVES = 12
"""Trials whose learning curves are drawn: those of the table first."""


@dataclass(frozen=True)
class Curve:
    """mIoU over the CAM threshold, of one row's first seed: shares in [0, 1]."""

    title: str
    step: str
    select: tuple[float, ...]
    report: tuple[float, ...]
    chosen: float


@dataclass(frozen=True)
class Tried:
    """A configuration's trial as the search saw it. `value` is its metric on `select` images."""

    study: str
    sweep: str
    arm: str
    id: str
    params: Mapping[str, Any]
    value: float | None
    status: str


@dataclass(frozen=True)
class Learning:
    """What one network reported after each epoch: metric → values. `title` is the trial's arm and seed, or
    its id where other trials that are shown have both, too. Where there are several studies, the trial's own
    stands in front of its id and its title."""

    trial: str
    title: str
    label: str
    metrics: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Step:
    """One artefact of a row's first seed."""

    row: str
    label: str
    key: str
    seconds: float | None
    shared_by: int
    """Trials of these studies that use it: it was made once."""


@dataclass(frozen=True)
class Content:
    """`titles` are those of the comparison's rows, in their order; `trials` those of each study by id."""

    storage: Storage
    comparison: Comparison
    titles: tuple[str, ...]
    studies: Mapping[str, Study]
    trials: Mapping[str, Mapping[str, TrialRecord]]

    @property
    def store(self) -> Store:
        return self.storage.store

    def rows(self) -> Iterator[tuple[str, Row, TrialRecord]]:
        """Iterate over (title, row, trial of its first seed)."""
        for title, row in zip(self.titles, self.comparison.rows, strict=True):
            trial = row.first_trial(self.trials[row.study])
            if trial is not None:
                yield title, row, trial

    def curves(self) -> list[Curve]:
        """Return the threshold curves of all rows' CAMs."""
        found = []
        for title, _, trial in self.rows():
            for label, key in trial.keys.items():
                step = scored_label(label)
                scores = self.store.read_json(key, SCORES_FILE) if step else None
                select = (scores or {}).get("select") or {}
                if len(select.get("curve") or ()) != len(THRESHOLDS):
                    continue
                report = ((scores or {}).get("report") or {}).get("curve") or ()
                found.append(Curve(title, step, tuple(select["curve"]), tuple(report), select["threshold"]))
        return found

    def tried(self) -> list[Tried]:
        """Return every trial that a search proposed, in the order in which they were drawn."""
        found = []
        for name, study in self.studies.items():
            metrics = {sweep.name: sweep.metric for sweep in study.sweeps}
            for trial in self.trials[name].values():
                metric = metrics.get(trial.sweep)
                value = trial.metrics.get(metric) if metric else None
                found.append(Tried(name, trial.sweep, trial.arm, trial.id, trial.params, value, trial.status))
        return found

    def learning(self) -> list[Learning]:
        """Return what networks reported epoch by epoch: those of the table, then others, a dozen trials."""
        first = [trial for _, _, trial in self.rows()]
        every = [trial for trials in self.trials.values() for trial in trials.values()]
        study_of = {id(trial): name for name, trials in self.trials.items() for trial in trials.values()}
        ids = dict.fromkeys(id(trial) for trial in (*first, *every))
        by_id = {id(trial): trial for trial in every}
        found, seen = [], set()
        drawn = [by_id[one] for one in itertools.islice(ids, LEARNING_CURVES)]
        titles = [f"{trial.arm}, seed {trial.seed}" for trial in drawn]
        for trial, title in zip(drawn, titles, strict=True):
            for label, key in trial.keys.items():
                artefact = self.store.known(key)
                history = [] if artefact is None else artefact.record.get("history") or []
                if key in seen or not any("loss" in entry for entry in history):
                    continue
                seen.add(key)
                names = dict.fromkeys(name for entry in history for name in entry)
                metrics = {
                    name: tuple(float(entry.get(name, math.nan)) for entry in history) for name in names
                }
                study = f"{study_of[id(trial)]}: " if len(self.trials) > 1 else ""
                shown = title if titles.count(title) == 1 else trial.id
                found.append(Learning(f"{study}{trial.id}", f"{study}{shown}", label, metrics))
        return found

    def lineage(self) -> list[Step]:
        """Return the artefacts of each row's first seed, in the order of its chain."""
        users: dict[str, int] = {}
        for trials in self.trials.values():
            for trial in trials.values():
                for key in set(trial.keys.values()):
                    users[key] = users.get(key, 0) + 1
        return [
            Step(title, label, key, _seconds(self.store.known(key)), users.get(key, 1))
            for title, _, trial in self.rows()
            for label, key in trial.keys.items()
        ]

    def costs(self) -> dict[str, dict[str, float]]:
        """Return, per study, hours and GPU hours used, and hours of work that the cache saved."""
        found = {}
        for name, trials in self.trials.items():
            keys = [key for trial in trials.values() for key in trial.keys.values()]
            seconds = {key: _seconds(self.store.known(key)) or 0.0 for key in set(keys)}
            saved = max(0.0, sum(seconds[key] for key in keys) - sum(seconds.values()))  # sums are rounded
            used, _, _ = read_ledger(self.storage.ledger(name), self.store)
            found[name] = {
                "trials": len(trials),
                "hours": used.hours,
                "gpu_hours": used.gpu_hours,
                "saved": saved / 3600,
            }
        return found

    def environment(self) -> dict[str, str]:
        """Return what the newest artefact of the rows was made with."""
        records = [
            artefact.record
            for _, _, trial in self.rows()
            for key in trial.keys.values()
            if (artefact := self.store.known(key)) is not None
        ]
        names = ("torch", "device", "processor", "cuda", "threads")
        last = records[-1] if records else {}
        return {name: str(last[name]) for name in names if last.get(name) not in (None, "")}


def _titles(comparison: Comparison) -> tuple[str, ...]:
    """Return the names of rows, those with their configuration that would be alike: plots tell them apart."""
    titles = [arm_title(row, comparison) for row in comparison.rows]
    return tuple(
        f"{title}, {row.configuration}" if titles.count(title) > 1 else title
        for title, row in zip(titles, comparison.rows, strict=True)
    )


def read_content(location: Location, names: Sequence[str], baseline: str | None = None) -> Content:
    """Read all that a page tells of one or more studies.

    Raises `ConfigError` for an unknown study or baseline.
    """
    comparison = compare(location, names, baseline)
    storage = open_storage(location)
    return Content(
        storage,
        comparison,
        _titles(comparison),
        {name: find_study(name, location) for name in names},
        {name: storage.ledger(name).trials() for name in names},
    )


def _seconds(artefact: Artefact | None) -> float | None:
    value = None if artefact is None else artefact.record.get("seconds")
    return None if value is None else float(value)
