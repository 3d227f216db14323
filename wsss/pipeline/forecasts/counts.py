"""How many trials a study will have, from its file alone: neither the data nor a storage is looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wsss.config import Pbt, Study, Sweep
from wsss.pipeline.search.arms import arm_label
from wsss.pipeline.search.selection import Kept, keep_of
from wsss.store.ledger import TrialRecord

Group = tuple[str, int]
"""A configuration that a sweep starts from: (arm's label through all sweeps, its number of seeds)."""


@dataclass(frozen=True)
class PlannedTrials:
    """The trials of one arm of one sweep. `stages` are those that the sweep adds to the chain."""

    sweep: str
    arm: str
    configurations: int
    trials: int
    stages: tuple[str, ...]


def planned(study: Study, base: Sequence[Group] = ()) -> list[PlannedTrials]:
    """Return one entry a sweep and arm, in the order of the file.

    A sweep with a metric passes on `keep` configurations of each arm, one without all; trials that are
    stopped early count.

    Args:
        study: the study.
        base: the configurations that its base kept; without a base, or while nothing is known of it, none.
    """
    kept = Kept(base)
    found = []
    for sweep in study.sweeps:
        upstream = kept.before(sweep)
        tried = _replicas(sweep, upstream) if sweep.replicate else _tried(study, sweep, upstream)
        stages = {arm_label(sweep, arm, name): arm for arm in sweep.arms for name, _ in upstream or [("", 0)]}
        for label in dict.fromkeys(name for name, _ in tried):
            mine = [seeds for name, seeds in tried if name == label]
            uses = stages[label].stages if label in stages else ()
            names = tuple(use.name for use in uses)
            found.append(PlannedTrials(sweep.name, label, len(mine), sum(mine), names))
        kept.add(sweep, _kept(sweep, tried))
    return found


def kept_groups(records: Mapping[str, TrialRecord]) -> list[Group]:
    """Return the configurations that the last sweep of a ledger kept."""
    kept = [record for record in records.values() if record.kept]
    last = [record for record in kept if record.sweep == kept[-1].sweep]
    seeds: dict[tuple[str, str], int] = {}
    for record in last:
        seeds[record.arm, record.configuration] = seeds.get((record.arm, record.configuration), 0) + 1
    return [(arm, count) for (arm, _), count in seeds.items()]


def _tried(study: Study, sweep: Sweep, upstream: Sequence[Group]) -> list[Group]:
    found = []
    for arm in sweep.arms:
        drawn = len(
            sweep.searcher.draw(
                arm.search, samples=arm.samples, seed=study.seed, name=f"{sweep.name}/{arm.name}"
            )
        )
        for source, seeds in upstream or [("", len(sweep.seeds) or 1)]:
            one = 1 if isinstance(sweep.scheduler, Pbt) else seeds
            found += [(arm_label(sweep, arm, source), one)] * drawn
    return found


def _replicas(sweep: Sweep, upstream: Sequence[Group]) -> list[Group]:
    return [(label, len(sweep.seeds)) for label, _ in upstream]


def _kept(sweep: Sweep, tried: Sequence[Group]) -> list[Group]:
    if not sweep.metric:
        return list(tried)
    labels = dict.fromkeys(label for label, _ in tried)
    return [one for label in labels for one in [t for t in tried if t[0] == label][: keep_of(sweep, label)]]
