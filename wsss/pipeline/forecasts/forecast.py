"""What a study will do: its trials, the artefacts that exist, and estimates of the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wsss.config import Budget, Resources, Study, Sweep
from wsss.data.view import DataView
from wsss.pipeline.chains.chain import Chain, Node
from wsss.pipeline.chains.facts import Looked, work_facts
from wsss.pipeline.forecasts.effort import (
    Estimate,
    Work,
    estimate_bytes,
    estimate_seconds,
    measured,
)
from wsss.pipeline.forecasts.rough import rough_bytes, rough_seconds
from wsss.pipeline.past.results import chain_result
from wsss.pipeline.past.stored_studies import upstream_of
from wsss.pipeline.search.budget import Spent
from wsss.pipeline.search.selection import Kept, kept_trials
from wsss.pipeline.search.trials import Trial, sweep_trials
from wsss.store.folder_store import Store
from wsss.store.ledger import TrialRecord
from wsss.store.storage import open_storage


def forecast(study: Study, data: DataView, store: Store, *, rough: bool = False) -> list[dict[str, Any]]:
    """Return one row per sweep, arm and stage: artefacts to make, found, and estimates of the rest.

    A later sweep starts from the trials that the earlier one keeps. Until that one has ended, its first
    trials stand in for the kept ones, and random configurations for those that a search will choose:
    counts are right, keys are guesses. A stopped trial has nothing left to make; the forecast stops no
    other. `each` (seconds) and `each_bytes` are means over similar artefacts on this storage, or None.
    `seconds`, `gpu_hours` and `bytes` add up all artefacts to make.

    Args:
        study: the study, as checked.
        data: its images.
        store: where artefacts are, and what earlier ones took.
        rough: whether to estimate work, too, unlike any that was run on this storage; a row says whether it
            has such.
    """
    known = [found for artefact in store if (found := measured(artefact.record)) is not None]
    records = open_storage(study.storage).ledger(study.name).trials()
    kept = Kept(upstream_of(study, data))
    counted: set[str] = set()
    looked: Looked = {}
    rows = []
    for number, sweep in enumerate(study.sweeps):
        upstream = kept.before(sweep)
        if number and not upstream:
            kept.add(sweep, [])  # all that it could start from were stopped
            continue
        trials = sweep_trials(study, sweep, upstream, data, records, guess=True)
        given_up = {trial.configuration for trial in trials if _was_stopped(trial, records)}
        trials = [trial for trial in trials if not _was_stopped(trial, records)]
        for arm in dict.fromkeys(trial.info.arm for trial in trials):
            lines: dict[str, _Line] = {}
            mine = [trial for trial in trials if trial.info.arm == arm]
            unfinished = 0
            for trial in mine:
                pending = {node.key for node in trial.chain.pending(store)}
                unfinished += bool(pending)
                for node in trial.chain.nodes:
                    if node.key in counted:
                        continue
                    counted.add(node.key)
                    line = lines.setdefault(node.label, _Line(by_network=node.side == "gpu"))
                    if node.key in pending:
                        work = _work(node, trial.chain, sweep.resources, data, looked)
                        line.add(estimate_seconds(work, known), estimate_bytes(work, known))
                        if rough and line.seconds[-1] is None:
                            line.guess(rough_seconds(work, known))
                        if rough and line.bytes[-1] is None:
                            line.bytes[-1] = rough_bytes(work, known)
                    else:
                        line.found += 1
            head = {"sweep": sweep.name, "arm": arm, "trials": len(mine), "unfinished": unfinished}
            rows += [{**head, "stage": label, **line.row(sweep.resources)} for label, line in lines.items()]
        # No seed of a configuration is kept when another was stopped.
        eligible = [trial for trial in trials if trial.configuration not in given_up]
        kept.add(sweep, _kept(sweep, eligible, store))
    return rows


@dataclass
class _Line:
    """The artefacts of one stage of one arm."""

    found: int = 0
    seconds: list[float | None] = field(default_factory=list)
    bytes: list[float | None] = field(default_factory=list)
    devices: set[str] = field(default_factory=set)
    artefacts: int = 0
    by_network: bool = False
    """Whether it is work of a network, for which a trial holds its GPUs."""
    rough: bool = False

    def guess(self, seconds: Estimate | None) -> None:
        """Put a rough estimate in the place of the last one."""
        if seconds is not None:
            self.seconds[-1], self.rough = seconds.value, True
            self.devices.update(seconds.devices)

    def add(self, seconds: Estimate | None, size: Estimate | None) -> None:
        self.seconds.append(seconds.value if seconds else None)
        self.bytes.append(size.value if size else None)
        if seconds:
            self.devices.update(seconds.devices)
            self.artefacts = max(self.artefacts, seconds.artefacts)

    def row(self, resources: Resources) -> dict[str, Any]:
        each, seconds = _mean_and_sum(self.seconds)
        each_bytes, size = _mean_and_sum(self.bytes)
        return {
            "to_make": len(self.seconds),
            "in_storage": self.found,
            "each": each,
            "seconds": seconds,
            "gpu_hours": self._gpu_hours(seconds, resources),
            "accelerator": resources.accelerator,
            "each_bytes": each_bytes,
            "bytes": size,
            "measured_on": sorted(self.devices),
            "measured": self.artefacts,
            "rough": self.rough,
        }

    def _gpu_hours(self, seconds: float | None, resources: Resources) -> float | None:
        if not self.by_network:
            return 0.0
        return None if seconds is None else seconds * resources.gpu / 3600


def _mean_and_sum(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Return the mean of what is known, and the sum if all of it is."""
    known = [value for value in values if value is not None]
    mean = sum(known) / len(known) if known else None
    return mean, sum(known) if len(known) == len(values) else None


def _work(node: Node, chain: Chain, resources: Resources, data: DataView, looked: Looked) -> Work:
    device = (resources.accelerator or "cuda") if resources.gpu else "cpu"
    params = node.params.model_dump(mode="json")
    return Work(node.stage, params, work_facts(node, chain, data, looked), device, resources.cpu)


@dataclass(frozen=True)
class Total:
    """Estimates for the whole study; None where artefacts are missing and no similar one was measured."""

    trials: int
    seconds: float | None
    gpu_hours: float | None
    bytes: float | None
    unknown_time: bool
    unknown_bytes: bool
    accelerators: Mapping[str, float] = field(default_factory=dict)
    """GPU hours by kind of GPU, if a sweep asks for a kind; "any" are the hours of sweeps that ask for
    none."""


def totals(rows: Sequence[Mapping[str, Any]]) -> Total:
    """Add rows up. `unknown_…` is true when some artefact to make has no estimate."""
    arms = {(row["sweep"], row["arm"]): row["unfinished"] for row in rows}
    todo = [row for row in rows if row["to_make"]]
    return Total(
        sum(arms.values()),
        _sum(row["seconds"] for row in todo),
        _sum(row["gpu_hours"] for row in todo),
        _sum(row["bytes"] for row in todo),
        any(row["seconds"] is None for row in todo),
        any(row["bytes"] is None for row in todo),
        _by_accelerator(todo),
    )


def _by_accelerator(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    hours: dict[str, float] = {}
    for row in rows:
        if row["gpu_hours"]:
            kind = row.get("accelerator") or "any"
            hours[kind] = hours.get(kind, 0.0) + row["gpu_hours"]
    return {} if set(hours) <= {"any"} else hours


def _sum(values: Any) -> float | None:
    values = list(values)
    known = [value for value in values if value is not None]
    return sum(known) if known or not values else None


def budget_rows(budget: Budget, spent: Spent, total: Total) -> list[dict[str, Any]]:
    """Return one row per limit: what earlier runs used, what the rest is estimated to use, the limit, and
    whether it is enough (None where that is unknown). Hours are those of one trial at a time.

    Args:
        budget: the study's limits.
        spent: what earlier runs used.
        total: estimates of the rest.
    """
    left: dict[str, float | None] = {
        "hours": None if total.seconds is None else total.seconds / 3600,
        "gpu_hours": total.gpu_hours,
        "trials": total.trials,
        "disk_gb": None if total.bytes is None else total.bytes / 1e9,
    }
    incomplete = {
        "hours": total.unknown_time,
        "gpu_hours": total.unknown_time,
        "disk_gb": total.unknown_bytes,
    }
    rows = []
    for name, limit in budget.model_dump(exclude_none=True).items():
        used, more = getattr(spent, name), left[name]
        enough = None if more is None else used + more <= limit
        if enough and incomplete.get(name):
            enough = None
        rows.append({"budget": name, "used": used, "left": more, "limit": limit, "enough": enough})
    return rows


def _was_stopped(trial: Trial, records: Mapping[str, TrialRecord]) -> bool:
    known = records.get(trial.info.id)
    return known is not None and known.status == "stopped" and known.keys == trial.keys


def _kept(sweep: Sweep, trials: list[Trial], store: Store) -> list[Trial]:
    """Return the kept trials, or as many stand-ins while some trials of the sweep are unfinished."""
    if any(trial.chain.pending(store) for trial in trials):
        level = {sweep.metric: 0.0} if sweep.metric else {}
        return kept_trials(sweep, trials, {trial.info.id: level for trial in trials})
    metrics = {trial.info.id: chain_result(trial.chain, store).metrics for trial in trials}
    return kept_trials(sweep, trials, metrics)
