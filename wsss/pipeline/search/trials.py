"""From a sweep to its trials: the arms' configurations, crossed with seeds and upstream trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from wsss.config import Arm, Pbt, Study, Sweep
from wsss.config.stage import STAGES
from wsss.data.view import DataView
from wsss.pipeline.chains.chain import Chain, Part, build_chain
from wsss.pipeline.events import TrialInfo
from wsss.pipeline.search.arms import arm_label
from wsss.pipeline.search.parts import Stages, arm_parts, member_parts, shown_stages
from wsss.pipeline.search.sampling import Values
from wsss.store.ledger import TrialRecord


@dataclass(frozen=True)
class Trial:
    """A configuration of one arm with one seed.

    `parts` are the stages of all sweeps so far, `chain` the same wired together. `configuration`
    is equal for trials that differ in their seed alone.
    """

    info: TrialInfo
    parts: tuple[Part, ...]
    chain: Chain
    configuration: str
    history: tuple[dict[str, Any], ...] = ()
    """Of a classifier whose parameters change on the way: what `TrialRecord.history` has."""

    @property
    def keys(self) -> dict[str, str]:
        return {node.label: node.key for node in self.chain.nodes}

    @property
    def stages(self) -> Stages:
        """All parameters of its chain's stages, defaults included."""
        return shown_stages(self.parts)

    def record(self) -> dict[str, Any]:
        """Return what the ledger keeps of it."""
        info = self.info
        return {
            "id": info.id,
            "sweep": info.sweep,
            "arm": info.arm,
            "seed": info.seed,
            "params": dict(info.params),
            "configuration": self.configuration,
            "upstream": info.upstream,
            "method": info.method,
            "backbone": info.backbone,
            "keys": self.keys,
            **({"history": list(self.history)} if self.history else {}),
        }


@dataclass(frozen=True)
class Branch:
    """An arm of a sweep after one upstream configuration: what is searched by itself.

    `sources` are that configuration's trials, one a seed; empty: from the beginning. `label` is the
    arm's name through all sweeps; names of trials and configurations begin with `stem`.
    """

    study: Study
    sweep: Sweep
    arm: Arm
    sources: tuple[Trial, ...]
    data: DataView

    @property
    def label(self) -> str:
        return arm_label(self.sweep, self.arm, self.sources[0].info.arm if self.sources else "")

    @property
    def stem(self) -> str:
        return f"{self.sweep.name}-{self.label}"

    def configuration(self, number: int) -> str:
        """Return the name of a configuration."""
        if not self.sources:
            return f"{self.stem}-{number:03d}"
        first = self.sources[0]
        return f"{self.stem}-{_after_arm(first, first.configuration)}-{number:03d}"

    def drawn(self) -> list[Values]:
        """Return the configurations that are known up front: all of a grid or of random draws."""
        return self.sweep.searcher.draw(
            self.arm.search,
            samples=self.arm.samples,
            seed=self.study.seed,
            name=f"{self.sweep.name}/{self.arm.name}",
        )

    @property
    def learns(self) -> bool:
        """Whether a search proposes configurations one by one, each from the scores so far."""
        return self.sweep.searcher.learns and bool(self.arm.search)

    def asked(self, records: Mapping[str, TrialRecord]) -> list[Values]:
        """Return the configurations of this branch in a ledger, oldest first."""
        values: dict[str, Values] = {
            record.configuration: {name: record.params[name] for name in self.arm.search}
            for record in records.values()
            if record.sweep == self.sweep.name and set(self.arm.search) <= set(record.params)
        }
        found: list[Values] = []
        while self.configuration(len(found)) in values:
            found.append(values[self.configuration(len(found))])
        return found

    def trials(self, number: int, values: Values) -> list[Trial]:
        """Return a configuration's trials, one a seed."""
        own = arm_parts(self.arm, values)
        configuration = self.configuration(number)
        runs: list[tuple[str, int, Trial | None]] = [
            (f"{self.stem}-{_after_arm(source, source.info.id)}-{number:03d}", source.info.seed, source)
            for source in self.sources
        ]
        if not self.sources:
            seeds = self.sweep.seeds or (self.study.seed,)
            names = {s: configuration if len(seeds) == 1 else f"{configuration}-s{s}" for s in seeds}
            runs = [(name, seed, None) for seed, name in names.items()]
        found = []
        for name, seed, source in runs:
            parts = (*source.parts, *own) if source else own
            params = {**(source.info.params if source else {}), **values}
            upstream = source.info.id if source else ""
            info = TrialInfo(name, self.sweep.name, self.label, seed, params, upstream=upstream)
            found.append(_trial(info, parts, configuration, self.data))
        return found


def branches(study: Study, sweep: Sweep, upstream: Sequence[Trial], data: DataView) -> list[Branch]:
    """Return every arm of a sweep after every configuration that it starts from, in a fixed order.

    Args:
        study: the study.
        sweep: one of its sweeps.
        upstream: the kept trials that it starts from; empty for the first sweep.
        data: the study's images, which keys depend on.
    """
    groups: dict[str, list[Trial]] = {}
    for trial in upstream:
        groups.setdefault(trial.configuration, []).append(trial)
    sources = [tuple(group) for group in groups.values()] or [()]
    return [Branch(study, sweep, arm, group, data) for arm in sweep.arms for group in sources]


def sweep_trials(
    study: Study,
    sweep: Sweep,
    upstream: Sequence[Trial],
    data: DataView,
    records: Mapping[str, TrialRecord] = MappingProxyType({}),
    *,
    guess: bool = False,
) -> list[Trial]:
    """Return a sweep's trials in a fixed order: every arm is tried once per upstream trial.

    Args:
        study: the study.
        sweep: one of its sweeps.
        upstream: the kept trials of the sweep before it, or of the one it replicates; empty for the first.
        data: the study's images, which keys depend on.
        records: the ledger's trials: of a search that learns from scores these are all that are known yet.
        guess: whether random trials stand in for those that such a search will still ask for.
    """
    if sweep.replicate:
        return _replicas(sweep, upstream, data)
    trials = []
    for branch in branches(study, sweep, upstream, data):
        if isinstance(sweep.scheduler, Pbt):
            trials.extend(population(branch, records))
            continue
        known = branch.asked(records) if branch.learns else branch.drawn()
        if guess:
            known += branch.drawn()[len(known) :]
        for number, values in enumerate(known):
            trials.extend(branch.trials(number, values))
    return trials


def population(branch: Branch, records: Mapping[str, TrialRecord]) -> list[Trial]:
    """Return an arm's trials in population-based training, each with the history that the records hold."""
    trials = []
    for number, values in enumerate(branch.drawn()):
        known = records.get(branch.configuration(number))
        trials.append(member(branch, number, values, known.history if known else ()))
    return trials


def member(branch: Branch, number: int, values: Values, history: Sequence[Mapping[str, Any]] = ()) -> Trial:
    """Return a trial whose classifier is made in parts, of `interval` epochs each.

    Args:
        branch: the arm and what it starts from.
        number: of the member in its population.
        values: of the search variables that it begins with.
        history: the parts that are decided, from the first; the parameters of its last hold until the end.
            Without one the classifier begins with `values` as its own parent.
    """
    scheduler, sweep = branch.sweep.scheduler, branch.sweep
    assert isinstance(scheduler, Pbt)
    configuration = branch.configuration(number)
    lines = [dict(line) for line in history] or [{"epoch": 0, "params": values, "parent": configuration}]
    last = {**values, **lines[-1]["params"]}
    parts = member_parts(scheduler, branch.arm, values, lines)
    seed = branch.study.seed
    info = TrialInfo(configuration, sweep.name, branch.label, seed, last)
    return replace(_trial(info, parts, configuration, branch.data), history=tuple(lines))


def _replicas(sweep: Sweep, upstream: Sequence[Trial], data: DataView) -> list[Trial]:
    trials = []
    # A configuration that already ran with several seeds is replicated once.
    for source in _one_each(upstream):
        configuration = f"{sweep.name}-{source.info.arm}-{_after_arm(source, source.configuration)}"
        for seed in sweep.seeds:
            name, params = f"{configuration}-s{seed}", dict(source.info.params)
            info = TrialInfo(name, sweep.name, source.info.arm, seed, params, upstream=source.info.id)
            trials.append(_trial(info, source.parts, configuration, data))
    return trials


def _one_each(trials: Sequence[Trial]) -> list[Trial]:
    """Return the first trial of every configuration."""
    first: dict[str, Trial] = {}
    for trial in trials:
        first.setdefault(trial.configuration, trial)
    return list(first.values())


def _trial(info: TrialInfo, parts: tuple[Part, ...], configuration: str, data: DataView) -> Trial:
    """Return the trial of these parts; its method and backbone are read from them."""
    # Settled once: the trials of later sweeps start from these very parts.
    parts = tuple(replace(part, params=STAGES[part.stage].settled(part.params)) for part in parts)
    # What a chain is known by: its classifier, or without one the network that learns from masks.
    kinds = [(STAGES[part.stage], part.params) for part in reversed(parts)]
    known = [(kind.judged, found) for kind, params in kinds if (found := kind.known_as(params))]
    if known:
        method, backbone = next((found for judged, found in known if judged), known[0][1])
        info = replace(info, method=method, backbone=backbone)
    return Trial(info, parts, build_chain(parts, data, info.seed), configuration)


def _after_arm(source: Trial, name: str) -> str:
    """Return what tells an upstream trial, or its configuration, from the others of its arm."""
    return name.removeprefix(f"{source.info.sweep}-{source.info.arm}-")
