"""From a sweep to its trials: the arms' configurations, crossed with seeds and upstream trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wsss.config import Arm, Study, Sweep, resolve_stage
from wsss.config.params import ClassifierParams, SegmenterParams
from wsss.data.view import DataView
from wsss.pipeline.chain import Chain, Part, build_chain
from wsss.pipeline.events import Scalar, TrialInfo
from wsss.pipeline.sampling import sample_arm


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

    @property
    def keys(self) -> dict[str, str]:
        return {node.label: node.key for node in self.chain.nodes}

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
        }


def sweep_trials(study: Study, sweep: Sweep, upstream: Sequence[Trial], data: DataView) -> list[Trial]:
    """Return a sweep's trials in a fixed order.

    `upstream` are the kept trials of the sweep before it, or of the one it replicates; empty for
    the first sweep. Every arm is tried once per upstream trial.
    """
    if sweep.replicate:
        return _replicas(sweep, upstream, data)
    trials = []
    for arm in sweep.arms:
        for source in upstream or (None,):
            trials.extend(_arm_trials(study, sweep, arm, source, data))
    return trials


def _arm_trials(study: Study, sweep: Sweep, arm: Arm, source: Trial | None, data: DataView) -> list[Trial]:
    configurations = sample_arm(
        arm.search,
        searcher=sweep.searcher,
        samples=arm.samples,
        seed=study.seed,
        name=f"{sweep.name}/{arm.name}",
    )
    label = _arm_label(sweep, arm, source)
    stem = f"{sweep.name}-{label}"
    trials = []
    for number, values in enumerate(configurations):
        own = tuple(
            Part(use.stage, use.name, resolve_stage(use, values), use.source or "") for use in arm.stages
        )
        parts = (*source.parts, *own) if source else own
        params = {**(source.info.params if source else {}), **values}
        if source is None:
            configuration = f"{stem}-{number:03d}"
            seeds = sweep.seeds or (study.seed,)
            runs = {seed: configuration if len(seeds) == 1 else f"{configuration}-s{seed}" for seed in seeds}
        else:
            configuration = f"{stem}-{_after_arm(source, source.configuration)}-{number:03d}"
            runs = {source.info.seed: f"{stem}-{_after_arm(source, source.info.id)}-{number:03d}"}
        for seed, name in runs.items():
            trials.append(_trial(name, sweep.name, label, seed, parts, params, source, configuration, data))
    return trials


def _replicas(sweep: Sweep, upstream: Sequence[Trial], data: DataView) -> list[Trial]:
    trials = []
    # A configuration that already ran with several seeds is replicated once.
    for source in _one_each(upstream):
        configuration = f"{sweep.name}-{source.info.arm}-{_after_arm(source, source.configuration)}"
        for seed in sweep.seeds:
            trials.append(
                _trial(
                    f"{configuration}-s{seed}",
                    sweep.name,
                    source.info.arm,
                    seed,
                    source.parts,
                    dict(source.info.params),
                    source,
                    configuration,
                    data,
                )
            )
    return trials


def _one_each(trials: Sequence[Trial]) -> list[Trial]:
    """Return the first trial of every configuration."""
    first: dict[str, Trial] = {}
    for trial in trials:
        first.setdefault(trial.configuration, trial)
    return list(first.values())


def _trial(
    name: str,
    sweep: str,
    arm: str,
    seed: int,
    parts: tuple[Part, ...],
    params: dict[str, Scalar],
    source: Trial | None,
    configuration: str,
    data: DataView,
) -> Trial:
    # What a chain is known by: its classifier, or without one the network that learns from masks.
    makers = [p.params for p in reversed(parts) if isinstance(p.params, ClassifierParams | SegmenterParams)]
    maker = next((m for m in makers if isinstance(m, ClassifierParams)), makers[0] if makers else None)
    info = TrialInfo(
        id=name,
        sweep=sweep,
        arm=arm,
        seed=seed,
        params=params,
        method=maker.method_name if maker else "",
        backbone=maker.backbone if maker else "",
        upstream=source.info.id if source else "",
    )
    return Trial(info, parts, build_chain(parts, data, seed), configuration)


def _arm_label(sweep: Sweep, arm: Arm, source: Trial | None) -> str:
    """An arm keeps its name through later sweeps; named arms of a later sweep are added to it."""
    if source is None:
        return arm.name
    return source.info.arm if arm.name == sweep.name else f"{source.info.arm}+{arm.name}"


def _after_arm(source: Trial, name: str) -> str:
    """Return what tells an upstream trial, or its configuration, from the others of its arm."""
    return name.removeprefix(f"{source.info.sweep}-{source.info.arm}-")
