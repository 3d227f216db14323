"""Checking that arms can be compared: tuned as often, trained as long, with labels of known kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wsss.config.checks.checker import Checker
from wsss.config.checks.size import configurations
from wsss.config.params.supervision import KNOWN_WEIGHTS
from wsss.config.resolve import resolve_stage, variables_in
from wsss.config.stage import STAGES
from wsss.config.study import Arm, StageUse, Sweep
from wsss.config.text.yaml_text import Path_
from wsss.errors import ConfigError


@dataclass(frozen=True)
class Work:
    """How long an arm's networks are trained: epochs, and updates where a stage counts those."""

    epochs: int
    iterations: int

    def __str__(self) -> str:
        parts = [f"{self.epochs} epochs"] if self.epochs or not self.iterations else []
        return " and ".join([*parts, *([f"{self.iterations} iterations"] if self.iterations else [])])


def check_fairness(checker: Checker, allow: Mapping[str, str], sweeps: Sequence[Sweep]) -> None:
    """Refuse arms of a sweep that try different numbers of configurations, or train differently long, unless
    `allow` names it."""
    for number, sweep in enumerate(sweeps):
        if len(sweep.arms) < 2:
            continue
        at: Path_ = ("sweeps", number, "arms")
        if "unequal_tuning" not in allow:
            tried = {
                arm.name: configurations(arm.search, arm.samples, sweep.searcher.kind) for arm in sweep.arms
            }
            if len(set(tried.values())) > 1:
                hint = "give each as many `samples`, or say `allow: [unequal_tuning]`, which the table shows"
                message = (
                    f"the arms of `{sweep.name}` try different numbers of configurations: {_named(tried)}"
                )
                checker.add(at, message, hint)
            later = any(not other.replicate and _searches(other) for other in sweeps[number + 1 :])
            keeps = {arm.name: arm.keep or sweep.keep for arm in sweep.arms}
            if later and len(set(keeps.values())) > 1:
                hint = "give each the same `keep`, or say `allow: [unequal_tuning]`"
                message = (
                    f"a later sweep searches after what the arms of `{sweep.name}` keep: {_named(keeps)}"
                )
                checker.add(at, message, hint)
        if "unequal_epochs" not in allow:
            work = {arm.name: _work(arm) for arm in sweep.arms if not _by_program(arm)}
            if None not in work.values() and len(set(work.values())) > 1:
                hint = "train each as long, or say why not: `allow: [{unequal_epochs: why}]`"
                message = f"the networks of the arms of `{sweep.name}` train differently long: {_named(work)}"
                checker.add(at, message, hint)


def _by_program(arm: Arm) -> bool:
    """Whether a foreign program is part of an arm: its length of training is unknown."""
    return any(STAGES[use.stage].program(use.params) for use in arm.stages)


def _searches(sweep: Sweep) -> bool:
    return any(arm.search for arm in sweep.arms)


def _named(numbers: Mapping[str, Any]) -> str:
    """Return "fmix 12, baseline and mixup 1"."""
    arms: dict[str, list[str]] = {}
    for arm, number in numbers.items():
        arms.setdefault(str(number), []).append(arm)
    return ", ".join(f"{' and '.join(names[:4])}{' …' * (len(names) > 4)} {n}" for n, names in arms.items())


def _work(arm: Arm) -> Work | None:
    """Return how long the networks of an arm are trained at most; None for an arm with problems."""
    epochs = iterations = 0
    for use in arm.stages:
        if "epochs" not in STAGES[use.stage].model().model_fields:
            continue
        found = [_trained(use, arm, key) for key in ("epochs", "iterations")]
        if found[0] is None:
            return None
        if found[1]:
            iterations += found[1]
        else:
            epochs += found[0]
    return Work(epochs, iterations)


def _trained(use: StageUse, arm: Arm, key: str) -> int | None:
    """Return the largest number of epochs or updates of a stage, over all values that are searched."""
    first = {name: values.values[0] for name, values in arm.search.items()}
    variables = list(variables_in(use.params.get(key)))
    try:
        choices = [{**first, name: value} for name in variables for value in arm.search[name].values] or [
            first
        ]
        values = [getattr(resolve_stage(use, values), key, None) or 0 for values in choices]
    except (ConfigError, KeyError):
        return None
    return max(values)


def check_declared(checker: Checker, sweeps: Sequence[Sweep]) -> None:
    """Refuse an arm with weights or files of unknown supervision, unless it declares the supervision."""
    for number, sweep in enumerate(sweeps):
        for arm in sweep.arms:
            own: Path_ = ("sweeps", number, *sweep.place(arm))
            for place, use in enumerate(arm.stages):
                unknown = "" if arm.supervision else _unknown(use, arm)
                if unknown:
                    message = f"{unknown}: what kinds of labels that rests on can't be known"
                    hint = (
                        f"declare it for arm `{arm.name}`: `supervision: [image]`, [image, text], [masks], …"
                    )
                    checker.add((*own, "stages", place, use.stage), message, hint)


def _unknown(use: StageUse, arm: Arm) -> str:
    """Return which part of a stage comes from elsewhere with unknown supervision; empty for none."""
    kind = STAGES[use.stage]
    if kind.may_make and not use.params.get("supervision") and kind.supervision({}) is None:
        return f"`{use.name}` brings in what another program made"
    weights = use.params.get("weights", "package")
    first = {name: values.values[0] for name, values in arm.search.items()}
    weights = first.get(weights[1:], weights) if isinstance(weights, str) and weights[:1] == "$" else weights
    if weights in KNOWN_WEIGHTS or "weights" not in STAGES[use.stage].model().model_fields:
        return ""
    if use.params.get("pretraining", "unknown") != "unknown":
        return ""
    return f"`{use.name}` starts from the weights of a file"
