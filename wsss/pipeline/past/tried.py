"""How many configurations a result was chosen from, and what trying them took: from ledgers and records
alone."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from wsss.config import Study
from wsss.config.text.location import Location
from wsss.errors import WsssError
from wsss.pipeline.chains.chain import scored_label
from wsss.pipeline.events import Tried
from wsss.pipeline.past.stored_studies import find_study
from wsss.pipeline.search.arms import labels_upto
from wsss.store.folder_store import Store
from wsss.store.ledger import TrialRecord
from wsss.store.storage import Storage

CPU = "cpu"


@dataclass(frozen=True)
class Attempts:
    """The trials of a study and of the studies that it is based on, the earliest first.

    Args:
        trials: by the study's name and their own id.
        replicating: the (study, sweep) that repeat what was chosen before, and choose nothing.
        gpus: of a trial, by (study, sweep).
        base_of: the study that each is based on.
        first: the first sweep of each study, which goes on from what its base kept.
    """

    trials: Mapping[tuple[str, str], TrialRecord]
    replicating: frozenset[tuple[str, str]]
    gpus: Mapping[tuple[str, str], float]
    base_of: Mapping[str, str]
    first: Mapping[str, str]


def attempts(
    study: Study,
    storage: Storage,
    records: Mapping[str, TrialRecord] | None = None,
    *,
    through: str | None = None,
) -> Attempts:
    """Return all trials that results of a study may have been chosen from.

    Args:
        study: the study.
        storage: where its ledger is, and those of the studies that it is based on.
        records: the study's trials, where they have been read.
        through: the sweep whose results are asked for; None for the last.
    """
    trials: dict[tuple[str, str], TrialRecord] = {}
    replicating: set[tuple[str, str]] = set()
    gpus: dict[tuple[str, str], float] = {}
    base_of: dict[str, str] = {}
    first: dict[str, str] = {}
    known: dict[str, Study | None] = {study.name: study}
    limits: dict[str, str | None] = {study.name: through}
    todo: Study | None = study
    while todo is not None:
        name = todo.name
        mine = records if todo is study and records is not None else storage.ledger(name).trials()
        sweeps = _until(todo, limits[name])
        first[name] = todo.sweeps[0].name
        for sweep in todo.sweeps:
            gpus[name, sweep.name] = float(sweep.resources.gpu)
            if sweep.replicate:
                replicating.add((name, sweep.name))
        trials |= {(name, id): trial for id, trial in mine.items() if trial.sweep in sweeps}
        start, todo = todo.base, None
        if start is not None and start.study not in known:
            base_of[name], limits[start.study] = start.study, start.sweep
            todo = known[start.study] = _found(start.study, storage.location)
    return Attempts(trials, frozenset(replicating), gpus, base_of, first)


def _until(study: Study, last: str | None) -> set[str]:
    names = [sweep.name for sweep in study.sweeps]
    return set(names[: names.index(last) + 1] if last in names else names)


def _found(name: str, location: Location) -> Study | None:
    try:
        return find_study(name, location)
    except WsssError:  # it was deleted, or another version wrote it: what it tried is unknown
        return None


def tried_for(arm: str, among: Attempts, store: Store) -> Tried:
    """Return how many configurations an arm's results were chosen from, and what all its trials took.

    A configuration is a way through all sweeps, as far as it was followed: twelve classifiers, of which two
    are refined in three ways each, are sixteen. Repeating one with other seeds tries nothing new. What was
    stopped or failed was tried; what never ended was not. An artefact that several trials share counts once,
    and so do configurations that ask for the same artefacts: a search of few values draws one again. Of a
    population, every set of values counts that any part of any member was trained with. An arm that
    keeps all that it tried, as a grid of which every cell is reported, has chosen none: each is one of one.

    Args:
        arm: its label through all sweeps ("baseline+crf").
        among: the study's trials.
        store: where records are.
    """
    labels = labels_upto(arm)
    mine = {
        place: trial
        for place, trial in among.trials.items()
        if trial.arm in labels and trial.status != "started"
    }
    same = _same(mine)
    nodes: set[Node] = set()
    followed: set[Node] = set()
    kept: set[Node] = set()
    for place, trial in mine.items():
        if (place[0], trial.sweep) in among.replicating:
            continue
        node = _node(place, trial)
        nodes.add(same.get(node, node))
        kept |= {same.get(node, node)} if trial.kept else set()
        nodes |= {(place[0], trial.sweep, values) for values in values_trained(trial)}
        before = _before(place, trial, among)
        if before is not None:
            node = _node(*before)
            followed.add(same.get(node, node))
    epochs, seconds, gpu_seconds = _work(mine, among, store)
    ends = nodes - followed
    return Tried(1 if ends and ends <= kept else len(ends), epochs, seconds / 3600, gpu_seconds / 3600)


Place = tuple[str, str]
"""A study's name and a trial's id."""
Node = tuple[str, str, str]
"""Study, sweep and configuration; of a population's member, its upstream and values instead of the last."""


def _node(place: Place, trial: TrialRecord) -> Node:
    return place[0], trial.sweep, _values(trial, trial.history[-1]) if trial.history else trial.configuration


def values_trained(trial: TrialRecord) -> set[str]:
    """Return the sets of values, as JSON, that parts of a population's member were trained with, those too
    that it gave up; none of any other trial."""
    lines = [line for one in (trial, *trial.earlier) for line in one.history]
    return {_values(trial, line) for line in lines}


def _values(trial: TrialRecord, line: Mapping[str, Any]) -> str:
    return json.dumps([trial.upstream, line["params"]], sort_keys=True)


def _same(trials: Mapping[Place, TrialRecord]) -> dict[Node, Node]:
    """Return, for each configuration, the first that asks for the same artefacts with the same seeds."""
    asked: dict[Node, dict[int, tuple[tuple[str, str], ...]]] = {}
    for place, trial in trials.items():
        if trial.keys:
            asked.setdefault(_node(place, trial), {})[trial.seed] = tuple(sorted(trial.keys.items()))
    first: dict[Any, Node] = {}
    return {
        node: first.setdefault((*node[:2], tuple(sorted(seeds.items()))), node)
        for node, seeds in asked.items()
    }


def _before(place: Place, trial: TrialRecord, among: Attempts) -> tuple[Place, TrialRecord] | None:
    """Return the trial that one goes on from, past those that only repeat it."""
    study, _ = place
    while trial.upstream:
        if trial.sweep == among.first.get(study):  # names of trials repeat from study to study
            study = among.base_of.get(study, "")
        found = (study, trial.upstream)
        if found not in among.trials:
            return None
        trial = among.trials[found]
        if (study, trial.sweep) not in among.replicating:
            return found, trial
    return None


def _work(
    trials: Mapping[tuple[str, str], TrialRecord], among: Attempts, store: Store
) -> tuple[int, float, float]:
    """Return epochs, seconds and seconds by GPUs of all artefacts of trials, each once."""
    epochs = 0
    works: list[tuple[float, float]] = []  # (seconds, GPUs held meanwhile)
    counted: set[str] = set()
    for (study, _), trial in trials.items():
        gpus = among.gpus.get((study, trial.sweep), 1.0)
        for key in (key for one in (trial, *trial.earlier) for key in one.keys.values()):
            artefact = None if key in counted else store.known(key)
            counted.add(key)
            if artefact is not None:
                epochs += epochs_of(artefact.record)
                taken = float(artefact.record.get("seconds", 0.0))
                works.append((taken, gpus if artefact.record.get("device", CPU) != CPU else 0.0))
        if trial.status == "stopped" and not _all_made(trial, store):
            epochs += max((epoch for epoch, _ in trial.rungs), default=0)
            works.append((trial.seconds, gpus))
    # Exact sums, which do not depend on the order in which trials were made or are read.
    return epochs, math.fsum(taken for taken, _ in works), math.fsum(taken * held for taken, held in works)


def _all_made(trial: TrialRecord, store: Store) -> bool:
    """Whether every network that a trial asks for was trained, so that its records tell all."""
    return all(store.known(key) for label, key in trial.keys.items() if not scored_label(label))


def epochs_of(record: Mapping[str, Any]) -> int:
    """Return how many epochs an artefact's record tells of, 0 for what is not trained."""
    planned = record.get("params", {}).get("epochs")
    if not planned:
        return 0
    return len(record["history"]) if record.get("history") else int(planned)


def tried_by(arms: Iterable[str], among: Attempts, store: Store) -> dict[str, Tried]:
    """Return what was tried for each of several arms."""
    return {arm: tried_for(arm, among, store) for arm in dict.fromkeys(arms)}
