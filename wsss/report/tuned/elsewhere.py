"""How studies searched, and what other studies of a storage tried of the same networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from wsss.config import Study
from wsss.files import sha256_json
from wsss.pipeline.chains.chain import PICTURES, scored_label
from wsss.pipeline.past.data_inventory import stored_inventory
from wsss.pipeline.past.tried import Attempts
from wsss.pipeline.search.arms import labels_upto
from wsss.report.comparison import Row
from wsss.report.words.titles import shown
from wsss.store.folder_store import Store
from wsss.store.ledger import TrialRecord
from wsss.store.storage import Storage


def searched_as(studies: Iterable[Study]) -> str:
    """Return how a study and its bases searched, and by which scores they chose: "random search by
    select/miou"; empty where there was nothing to search."""
    sweeps = [sweep for study in studies for sweep in study.sweeps if any(arm.search for arm in sweep.arms)]
    ways = dict.fromkeys(
        f"{sweep.searcher.kind} search"
        + (f" under {sweep.scheduler.kind}" if sweep.scheduler.judges else "")
        + (f" by {sweep.metric.partition('/')[2]}" if sweep.metric else "")
        for sweep in sweeps
    )
    return " and ".join(sorted(ways))


def tried_elsewhere(
    rows: Sequence[Row],
    groups: Sequence[Sequence[TrialRecord]],
    among: Mapping[str, Attempts],
    own: Mapping[str, Sequence[str]],
    storage: Storage,
) -> list[dict[str, int]]:
    """Return, for each row, the studies that have the settings of one of its stages among more than its own
    study tried there → how many these tried.

    A study may fix what another one has found: then it tried one configuration, and the choice was among all
    of the other's: the configurations of one arm, or arms that differ in nothing but numbers and were tried
    before. Settings are the same whatever the seed, and to as many digits as tables show. Studies of other
    photos don't count.

    Args:
        rows: of the comparison.
        groups: each row's trials.
        among: each study's name → the trials that its rows may have been chosen from.
        own: each study's name → its own and those of its bases, which count already.
        storage: where the studies are.
    """
    found: list[dict[str, int]] = [{} for _ in rows]
    memory = _Settings(storage.store)
    mine = [memory.of_stages(trials) for trials in groups]
    every = {settings for stages in mine for settings in stages}
    values = frozenset[Any]().union(*(memory.values(trials) for trials in groups))
    keys = {key for trials in groups for trial in trials for key in trial.keys.values()}
    photos = {name: _photos(name, storage) for name in own}
    counted: dict[tuple[int, str], int] = {}
    for name in storage.study_names() if every else ():
        if all(name in own[row.study] for row in rows):
            continue
        trials = [one for one in storage.ledger(name).trials().values() if one.status != "started"]
        theirs: dict[str, tuple[int, str]] = {}
        for trial in trials:
            # Few of many: reading the records of all of them takes long.
            if values.isdisjoint(_leaves(_rounded(trial.params))) and keys.isdisjoint(trial.keys.values()):
                continue
            for label, settings in memory.by_label(trial).items():
                if settings in every:
                    number = memory.tried(label, (one for one in trials if one.arm == trial.arm))
                    theirs[settings] = max((number, label), theirs.get(settings, (0, "")))
        if not theirs:
            continue
        there = _photos(name, storage)
        for number, (row, stages) in enumerate(zip(rows, mine, strict=True)):
            here = photos[row.study]
            if not stages or name in own[row.study] or (here and there and not here & there):
                continue
            first = groups[number][0]
            before = [one for one in trials if one.began <= first.began]
            for settings, label in stages.items():
                if settings not in theirs:
                    continue
                tried, their_label = theirs[settings]
                tried = max(tried, memory.alike(first.keys[label], their_label, before))
                if (number, label) not in counted and tried > 1:
                    shown = (one for one in among[row.study].trials.values() if one.status != "started")
                    alike = memory.alike(first.keys[label], label, shown)
                    counted[number, label] = max(memory.tried(label, _own(row, among[row.study])), alike)
                if tried > counted.get((number, label), 1):
                    found[number][name] = max(tried, found[number].get(name, 0))
    return found


def _own(row: Row, among: Attempts) -> Iterator[TrialRecord]:
    """Iterate over the trials that a row may have been chosen from."""
    labels = labels_upto(row.arm)
    return (trial for trial in among.trials.values() if trial.arm in labels and trial.status != "started")


def _photos(name: str, storage: Storage) -> frozenset[str]:
    """Return the digests of a study's photos; empty where they are not known."""
    inventory = stored_inventory(storage, name)
    return frozenset(held.photo for held in inventory.images.values()) if inventory else frozenset()


class _Settings:
    """What the stages of trials were set to, by their records: digests that don't depend on the seed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, str | None] = {}
        self._shapes: dict[str, str | None] = {}
        self._alike: dict[tuple[str, ...], int] = {}
        self._tried: dict[tuple[str, ...], int] = {}

    def of_stages(self, trials: Sequence[TrialRecord]) -> dict[str, str]:
        """Return the settings of each stage of trials that differ in their seed alone → its label."""
        stages = (pair for trial in trials[:1] for pair in self.by_label(trial).items())
        return {found: label for label, found in stages if found}

    def by_label(self, trial: TrialRecord) -> dict[str, str | None]:
        """Return label → settings of a trial's stages, those before them included; None where a stage was not
        made."""
        return {
            label: self._of(key)
            for label, key in trial.keys.items()
            if not scored_label(label) and not label.endswith(f".{PICTURES}")
        }

    def values(self, trials: Sequence[TrialRecord]) -> frozenset[Any]:
        """Return all values that stand in the parameters of a trial's stages."""
        made = (self._store.known(key) for trial in trials[:1] for key in trial.keys.values())
        return frozenset(
            value
            for artefact in made
            if artefact is not None
            for value in _leaves(_rounded(artefact.record.get("params", {})))
        )

    def tried(self, label: str, trials: Iterable[TrialRecord]) -> int:
        """Return how many different settings trials gave a stage; one that was not made counts by the name of
        its configuration."""
        mine = [trial for trial in trials if label in trial.keys]
        key = (label, *(trial.keys[label] for trial in mine))
        if key not in self._tried:
            self._tried[key] = len({self._of(trial.keys[label]) or trial.configuration for trial in mine})
        return self._tried[key]

    def alike(self, key: str, label: str, trials: Iterable[TrialRecord]) -> int:
        """Return how many different settings trials gave to a stage that differ from an artefact's in numbers
        alone, those of the artefact included."""
        shape = self._shape(key)
        keys = dict.fromkeys(trial.keys[label] for trial in trials if label in trial.keys)
        known = (str(shape), *keys)
        if known not in self._alike:
            mine = {self._of(other) for other in keys if shape is not None and self._shape(other) == shape}
            self._alike[known] = len(mine)
        return self._alike[known]

    def _of(self, key: str) -> str | None:
        if key not in self._known:
            self._known[key] = self._digest(key, _rounded, self._of)
        return self._known[key]

    def _shape(self, key: str) -> str | None:
        if key not in self._shapes:
            self._shapes[key] = self._digest(key, _without_numbers, self._shape)
        return self._shapes[key]

    def _digest(
        self, key: str, read: Callable[[Any], Any], source: Callable[[str], str | None]
    ) -> str | None:
        artefact = self._store.known(key)
        if artefact is None:
            return None
        inputs = {name: one["key"] for name, one in artefact.record.get("inputs", {}).items()}
        params = read(artefact.record.get("params", {}))
        return sha256_json(
            [artefact.stage, params, {name: source(one) or one for name, one in inputs.items()}]
        )


def _rounded(value: Any) -> Any:
    """Return a value with its numbers as tables show these: who fixes what another study found copies it from
    there."""
    if isinstance(value, Mapping):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return float(shown(value)) if isinstance(value, float) else value


def _without_numbers(value: Any) -> Any:
    """Return a value in which all numbers are the same one."""
    if isinstance(value, Mapping):
        return {name: _without_numbers(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_numbers(one) for one in value]
    return 0 if isinstance(value, int | float) and not isinstance(value, bool) else value


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping | list):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _leaves(one)
    else:
        yield value
