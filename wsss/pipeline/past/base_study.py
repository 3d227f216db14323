"""A study that is based on another starts from the trials that the other kept, as its ledger has them."""

from __future__ import annotations

from collections.abc import Mapping

from wsss.config import Base, Study
from wsss.data.view import DataView
from wsss.errors import ConfigError, Problem, nearest
from wsss.pipeline.search.selection import Kept
from wsss.pipeline.search.trials import Trial, sweep_trials
from wsss.store.ledger import TrialRecord


def base_trials(start: Base, base: Study, records: Mapping[str, TrialRecord], data: DataView) -> list[Trial]:
    """Return the kept trials of study `base`, whose ledger's records these are, that `start` asks for.

    Nothing of them is made again, as their chains lead to the same keys. Raises `ConfigError` when the
    sweep or an arm is unknown, when it kept nothing yet, and when other images or classes, or another
    version of a stage, lead to other keys.

    Args:
        start: which sweep of `base` is built on, and which of its arms.
        base: the other study.
        records: the trials of its ledger.
        data: the images of the study that builds on it.
    """
    names = [sweep.name for sweep in base.sweeps]
    wanted = start.sweep or names[-1]
    if wanted not in names:
        raise ConfigError(
            Problem("base.sweep", f"{base.name} has no sweep {wanted!r}", nearest(wanted, names))
        )
    kept: list[Trial] = []
    so_far: Kept[Trial] = Kept(())
    for sweep in base.sweeps[: names.index(wanted) + 1]:
        trials = sweep_trials(base, sweep, so_far.before(sweep), data, records)
        kept = [trial for trial in trials if trial.info.id in records and records[trial.info.id].kept]
        so_far.add(sweep, kept)
    arms = list(dict.fromkeys(trial.info.arm for trial in kept))
    problems = [
        Problem("base.arms", f"{base.name} kept no arm {arm!r}", nearest(arm, arms))
        for arm in start.arms or ()
        if arm not in arms
    ]
    if kept and problems:
        raise ConfigError(problems)
    kept = [trial for trial in kept if start.arms is None or trial.info.arm in start.arms]
    if not kept:
        message = f"sweep {wanted!r} of {base.name} has kept no trial yet"
        raise ConfigError(Problem("base", message, f"finish it first: `resume {base.name}`"))
    for trial in kept:
        known = records[trial.info.id].keys
        # Scores may be of an older version: they are cheap, and made again.
        changed = [
            node.label
            for node in trial.chain.nodes
            if not node.is_score and known.get(node.label) != node.key
        ]
        if changed:
            message = (
                f"{changed[0]} of {trial.info.id} was made of other images, classes or parameters, or by "
                "another version"
            )
            hint = f"`data` must be that of {base.name}; else run {base.name} again"
            raise ConfigError(Problem("base", message, hint))
    return kept
