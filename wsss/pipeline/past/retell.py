"""Repeats a study's events from its ledger and the store, to fill an MLflow that has lost them.

Neither the data set nor a tracking server is read. Times are those at which things happened.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from wsss.config import Study
from wsss.errors import WsssError
from wsss.pipeline.events import (
    DataPart,
    Event,
    Origin,
    StudyFinished,
    StudyStarted,
    SweepFinished,
    SweepStarted,
    TrialFinished,
    TrialInfo,
    TrialProgress,
    TrialStarted,
    TrialStatus,
    Tried,
)
from wsss.pipeline.origin import ENTRY, data_parts, data_source, origin_of
from wsss.pipeline.past.data_inventory import stored_inventory
from wsss.pipeline.past.planned import Planned, recorded_stages
from wsss.pipeline.past.results import Result, own_steps, recorded_result, unreported
from wsss.pipeline.past.stored_studies import find_study
from wsss.pipeline.past.tried import Attempts, attempts, tried_by
from wsss.pipeline.search.parts import variable_places
from wsss.store.folder_store import Store
from wsss.store.ledger import TrialRecord, trials_of
from wsss.store.storage import Storage

Dated = tuple[int, Event]
"""When it happened, in milliseconds since 1970, and what."""


@dataclass
class _Course:
    """When a trial began and ended, in milliseconds since 1970."""

    planned: int
    params: Mapping[str, Any]
    keys: dict[str, list[str]] = field(default_factory=dict)
    """Label → the keys that it had, oldest first: a population's members exchange theirs."""
    began: int | None = None
    ended: int | None = None
    origin: Origin = Origin()

    @property
    def start(self) -> int:
        return self.planned if self.began is None else self.began


@dataclass
class _Close:
    """The end of a sweep: the first since work on it was last done."""

    time: int | None = None
    kept: tuple[str, ...] = ()


@dataclass
class Past:
    """What a study's ledger and file held when they were read.

    `study` is None when the file is missing or can't be read: sweeps then have no metric to be ranked by.
    `others` are the keys of the trials that it started from in another study.
    """

    name: str
    address: str
    config: str
    study: Study | None
    records: dict[str, TrialRecord]
    others: frozenset[str] = frozenset()
    among: Mapping[str, Attempts] = field(default_factory=dict)
    """By sweep: the trials that its results may have been chosen from."""
    courses: dict[str, _Course] = field(default_factory=dict)
    closes: dict[str, _Close] = field(default_factory=dict)
    first: int = 0
    last: int = 0
    origin: Origin = Origin()
    """Of the last run so far that had work to do."""
    data: tuple[DataPart, ...] = ()
    planned: Planned | None = None

    @property
    def finished(self) -> bool:
        """Whether every sweep has ended, those left out that nothing was kept for."""
        closed = {name: close for name, close in self.closes.items() if close.time is not None}
        names = {sweep.name for sweep in self.study.sweeps} if self.study is not None else set()
        whole = names <= closed.keys() or not all(close.kept for close in closed.values())
        return bool(closed) and len(closed) == len(self.closes) and whole

    def info(self, record: TrialRecord) -> TrialInfo:
        """Return what events call a trial."""
        return TrialInfo(
            record.id,
            record.sweep,
            record.arm,
            record.seed,
            params=self.courses[record.id].params,  # a population's change: those that its run was begun with
            method=record.method,
            backbone=record.backbone,
            upstream=record.upstream,
        )


def remember(storage: Storage, name: str) -> Past:
    """Read a study's ledger and file. Raises `StorageError` when an object storage is away."""
    entries = list(storage.ledger(name).entries())  # read once: a run may be adding to them
    try:
        study, config = find_study(name, storage.location), storage.study_text(name) or ""
    except WsssError:
        study, config = None, ""
    others: set[str] = set()
    base: Planned | None = None
    if study is not None and study.base is not None:
        bases = storage.ledger(study.base.study).trials()
        for record in bases.values():
            others |= set(record.keys.values()) if record.kept else set()
        with contextlib.suppress(WsssError):
            base = Planned(find_study(study.base.study, storage.location), bases)
    records = trials_of(entries)
    among: dict[str, Attempts] = {}
    if study is not None:
        for sweep in study.sweeps:
            among[sweep.name] = attempts(study, storage, records, through=sweep.name)
    past = Past(name, storage.study_address(name), config, study, records, frozenset(others), among)
    past.data = data_parts(stored_inventory(storage, name))
    past.planned = None if study is None else Planned(study, records, base)
    for entry in entries:
        _take(past, entry)
    return past


def _take(past: Past, entry: Mapping[str, Any]) -> None:
    """Take in what an entry says of when things happened."""
    past.last = now = _milliseconds(entry.get("time")) or past.last
    past.first = past.first or now
    kind, id = entry["type"], str(entry.get("id", ""))
    if kind == "trial":
        keys = past.courses.setdefault(id, _Course(now, dict(entry["params"]))).keys
        for label, key in entry["keys"].items():
            keys.setdefault(label, []).append(key)
        past.closes.setdefault(entry["sweep"], _Close())
    elif kind in ("begin", "end") and id in past.courses:
        course = past.courses[id]
        if course.began is None:
            course.origin = past.origin
            course.began = now - (int(1000 * entry["seconds"]) if kind == "end" else 0)
        if kind == "end":
            course.ended = now
        past.closes[past.records[id].sweep].time = None
    elif kind == ENTRY:
        past.origin = origin_of(entry)
    elif kind == "kept":
        close = past.closes.setdefault(entry["sweep"], _Close())
        if close.time is None:
            close.time, close.kept = now, tuple(entry["ids"])


def _milliseconds(time: object) -> int:
    """Return an entry's time in milliseconds since 1970, 0 when it can't be read."""
    try:
        return int(datetime.fromisoformat(str(time)).timestamp() * 1000)
    except ValueError:
        return 0


def retell(past: Past, store: Store, *, running: bool = False) -> Iterator[Dated]:
    """Iterate over a study's events: one course for every trial that was ever begun, with its last end.

    A sweep that was begun and never ended was interrupted at the ledger's last entry, unless the study is
    `running`.
    """
    if not past.courses:
        return
    study = past.study
    about = ("", {}) if study is None else (data_source(study), variable_places(study))
    yield past.first, StudyStarted(past.name, past.address, past.config, past.origin, past.data, *about)
    metrics = {sweep.name: sweep.metric or "" for sweep in past.study.sweeps} if past.study else {}
    for sweep, close in past.closes.items():
        mine = [record for record in past.records.values() if record.sweep == sweep]
        if not mine:
            continue
        infos = tuple(past.info(record) for record in mine)
        yield (
            min(past.courses[record.id].planned for record in mine),
            SweepStarted(sweep, metrics.get(sweep, ""), infos),
        )
        for record, info in zip(mine, infos, strict=True):
            yield from _trial(record, info, past, store)
        if close.time is not None:
            yield close.time, SweepFinished(sweep, close.kept, _tried(sweep, close, past, store))
        elif not running:
            failed = sum(record.status == "failed" for record in mine)
            yield past.last, StudyFinished(failed, interrupted=True)


def _tried(sweep: str, close: _Close, past: Past, store: Store) -> dict[str, Tried]:
    if sweep not in past.among:
        return {}
    arms = {id: past.records[id].arm for id in close.kept if id in past.records}
    tried = tried_by(arms.values(), past.among[sweep], store)
    return {id: tried[arm] for id, arm in arms.items()}


def _trial(record: TrialRecord, info: TrialInfo, past: Past, store: Store) -> Iterator[Dated]:
    course = past.courses[record.id]
    source = past.records.get(record.upstream)
    others = past.others | set(source.keys.values() if source else ())
    keys = {
        label: next((key for key in tried if store.known(key)), tried[-1])
        for label, tried in course.keys.items()
    }
    steps = own_steps(record.id, keys, others, store, half_made=record.status != "done")
    stages = recorded_stages(record, course.params, past.planned, store)
    yield course.start, TrialStarted(info, stages, course.origin)
    if course.ended is None or record.status == "started":
        yield from _in_order(steps, course.start)
        return
    result, status = _result(record, store)
    finished = TrialFinished(
        info,
        status,
        metrics=record.metrics,
        per_class=result.per_class,
        files=result.files,
        error=record.error,
        reason=record.reason,
        steps=steps,
    )
    yield course.ended, finished


def _in_order(steps: Sequence[TrialProgress], start: int) -> Iterator[Dated]:
    for step in steps:
        yield step.time or start, step


def _result(record: TrialRecord, store: Store) -> tuple[Result, TrialStatus]:
    if record.status == "failed":
        return Result(), "failed"
    result = recorded_result(record.keys, store)
    return (unreported(result), "stopped") if record.status == "stopped" else (result, "done")
