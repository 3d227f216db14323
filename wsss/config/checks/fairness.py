"""Checking that arms can be compared: tuned as often, trained as long, with labels of known kinds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from wsss.config.checks.checker import Checker
from wsss.config.checks.places import all_uses
from wsss.config.checks.size import configurations
from wsss.config.params.base import KNOWN_WEIGHTS, NO_WEIGHTS
from wsss.config.params.supervision import TIMM, UNKNOWN, of_timm
from wsss.config.resolve import resolve_stage, variables_in
from wsss.config.search import first_values
from wsss.config.stage import STAGES, StageKind
from wsss.config.study import Arm, StageUse, Study, Sweep
from wsss.config.text.yaml_text import Path_
from wsss.errors import ConfigError

LENGTHS = {"epochs", "iterations", "span"}
"""Parameters that say how long a network is trained."""


@dataclass(frozen=True)
class Work:
    """How long an arm's networks are trained: epochs, and updates where a stage counts those."""

    epochs: int
    iterations: int

    def exceeds(self, other: Work) -> bool:
        """Whether it is more of either."""
        return self.epochs > other.epochs or self.iterations > other.iterations

    def __str__(self) -> str:
        parts = [f"{self.epochs} epochs"] if self.epochs or not self.iterations else []
        return " and ".join([*parts, *([f"{self.iterations} iterations"] if self.iterations else [])])


class Collector(Protocol):
    """Takes problems: a `Checker`, which refuses the study for them, or a list of their messages."""

    def add(self, path: Path_, message: str, hint: str = "") -> None: ...


class _Messages:
    def __init__(self) -> None:
        self.found: list[str] = []

    def add(self, path: Path_, message: str, hint: str = "") -> None:
        self.found.append(message)


def unnamed(study: Study) -> list[str]:
    """Return what makes the arms of a study unequal and stands in no `allow` of it: an earlier version, or
    somebody who changed the stored file, let that pass."""
    messages = _Messages()
    check_fairness(messages, study.allow, study.sweeps)
    return messages.found


def check_fairness(checker: Collector, allow: Mapping[str, str], sweeps: Sequence[Sweep]) -> None:
    """Refuse arms of a sweep that are tuned or stopped unequally, or train differently long, unless `allow`
    names it."""
    for number, sweep in enumerate(sweeps):
        if len(sweep.arms) < 2:
            continue
        at: Path_ = ("sweeps", number, "arms")
        if "unequal_tuning" not in allow:
            _check_tuning(checker, sweep, sweeps[number + 1 :], at)
        if "unequal_epochs" not in allow:
            _check_work(checker, sweep, at)


def _check_tuning(checker: Collector, sweep: Sweep, later: Sequence[Sweep], at: Path_) -> None:
    tried = {arm.name: _different(arm, sweep) for arm in sweep.arms}
    if len(set(tried.values())) > 1:
        hint = "give each as many `samples`, or say `allow: [unequal_tuning]`, which the table shows"
        message = f"the arms of `{sweep.name}` try different numbers of configurations: {_named(tried)}"
        if any(arm.samples and tried[arm.name] < arm.samples for arm in sweep.arms):
            hint = f"a search tries no more than its variables have values; {hint}"
        checker.add(at, message, hint)
    keeps = {arm.name: arm.keep or sweep.keep for arm in sweep.arms}
    if len(set(keeps.values())) > 1 and any(not other.replicate for other in later):
        message = f"a later sweep chooses among what the arms of `{sweep.name}` keep: {_named(keeps)}"
        checker.add(at, message, "give each the same `keep`, or say `allow: [unequal_tuning]`")
    rules = {arm.name: _rules(arm, sweep) for arm in sweep.arms}
    if len(set(rules.values())) > 1:
        message = f"the arms of `{sweep.name}` are stopped by different rules: {_named(rules)}"
        checker.add(at, message, "give `stop_below` to the sweep, or say `allow: [unequal_tuning]`")


def _different(arm: Arm, sweep: Sweep) -> int:
    """Return how many different configurations an arm has at most: samples of few values repeat them."""
    number = configurations(arm.search, arm.samples, sweep.searcher.kind)
    if all(values.countable for values in arm.search.values()):
        number = min(number, math.prod(values.size for values in arm.search.values()))
    return number


def _rules(arm: Arm, sweep: Sweep) -> str:
    rules = sweep.stop_below if arm.stop_below is None else arm.stop_below
    parts = [f"{metric} below {value}" for rule in rules for metric, value in rule.to_raw().items()]
    judged = [use for use in arm.stages if STAGES[use.stage].judged]
    if sweep.scheduler.judges and judged and arm.search:  # an arm without a search has one trial
        parts.append(f"{sweep.scheduler.kind} by {_rung(judged[-1], arm)}")
    return f"({' and '.join(parts) or 'none'})"


def _rung(use: StageUse, arm: Arm) -> str:
    """Return on how many images a classifier is judged, and how often."""
    first = first_values(arm.search)
    try:
        rung = getattr(resolve_stage(use, first), "rung", None)
    except (ConfigError, KeyError):
        return "its rungs"
    return "its rungs" if rung is None else f"{rung.images} images every {rung.every} epochs"


def _check_work(checker: Collector, sweep: Sweep, at: Path_) -> None:
    found = {arm.name: _work(arm) for arm in sweep.arms}
    if None in found.values():
        return
    work = {name: mine for name, mine in found.items() if mine is not None}
    hint = "train each as long, or say why not: `allow: [{unequal_epochs: why}]`"
    programs = [arm.name for arm in sweep.arms if _by_program(arm)]
    ours = {name: mine for name, mine in work.items() if name not in programs}
    if len(set(ours.values())) > 1:
        message = f"the networks of the arms of `{sweep.name}` train differently long: {_named(ours)}"
        checker.add(at, message, hint)
    for name in programs:  # nobody knows how long a program trains; the networks around it are known
        others = [mine for other, mine in work.items() if other != name and mine != Work(0, 0)]
        if any(work[name].exceeds(other) for other in others):
            message = (
                f"the networks of arm `{name}` train for {work[name]} beside its program, "
                f"longer than {_named({other: mine for other, mine in work.items() if other != name})}"
            )
            checker.add((*at, name), message, hint)


def _by_program(arm: Arm) -> bool:
    """Whether what another program makes is part of an arm: how long it trains, nobody knows."""
    return any(STAGES[use.stage].elsewhere for use in arm.stages)


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
        if not _trains(use):
            continue
        found = _trained(use, arm)
        if found is None:
            return None
        epochs, iterations = epochs + found[0], iterations + found[1]
    return Work(epochs, iterations)


def _trains(use: StageUse) -> bool:
    """Whether a stage may train a network: it has a parameter that says how long, or says it itself."""
    kind = STAGES[use.stage]
    own = any("trained" in vars(base) for base in kind.__mro__ if base is not StageKind)
    return own or bool(LENGTHS & kind.model().model_fields.keys())


def _trained(use: StageUse, arm: Arm) -> tuple[int, int] | None:
    """Return the most epochs and updates that a stage is trained for, over what is searched."""
    first = {name: values.values[0] for name, values in arm.search.items()}
    named = LENGTHS & STAGES[use.stage].model().model_fields.keys()
    searched = [use.params.get(key) for key in sorted(named)] if named else [use.params]
    variables = [name for value in searched for name in variables_in(value)]
    kind = STAGES[use.stage]
    try:
        choices = [{**first, name: value} for name in variables for value in arm.search[name].values]
        found = [kind.trained(resolve_stage(use, values)) for values in choices or [first]]
    except (ConfigError, KeyError):
        return None
    epochs, updates = (max(numbers) for numbers in zip(*found, strict=True))
    return epochs, updates


def check_declared(checker: Checker, sweeps: Sequence[Sweep]) -> None:
    """Refuse an arm with weights or files of unknown supervision, unless it declares the supervision."""
    for path, arm, use in all_uses(sweeps):
        unknown = "" if arm.supervision else _unknown(use, arm)
        if unknown:
            message = f"{unknown}: what kinds of labels that rests on can't be known"
            hint = f"declare it for arm `{arm.name}`: `supervision: [image]`, [image, text], [masks], …"
            checker.add(path, message, hint)


def _unknown(use: StageUse, arm: Arm) -> str:
    """Return which part of a stage comes from elsewhere with unknown supervision; empty for none."""
    kind = STAGES[use.stage]
    if not use.params.get("supervision") and kind.supervision({}) is None:
        other = "brings in what another program made" if kind.may_make else "is a stage that doesn't say it"
        return f"`{use.name}` {other}"
    fields = kind.model().model_fields
    weights = [value for value in _values(use, arm, "weights") if value != NO_WEIGHTS]
    if "weights" not in fields or not weights:
        return ""
    if any(value not in KNOWN_WEIGHTS for value in weights):
        said = all(value != "unknown" for value in _values(use, arm, "pretraining"))
        return "" if said else f"`{use.name}` starts from the weights of a file"
    named = [str(value) for value in _values(use, arm, "backbone")]
    own = next((name for name in named if not name.startswith(TIMM) and not kind.weights_rest_on(name)), None)
    if own is not None:
        return f"`{use.name}` starts from {own}'s own weights, of which the backbone doesn't say it"
    unclear = next((name for name in named if name.startswith(TIMM) and of_timm(name) == UNKNOWN), None)
    if unclear is None:
        return ""
    return f"`{use.name}` starts from {unclear}, without the release that says what these have seen"


def _values(use: StageUse, arm: Arm, key: str) -> Sequence[Any]:
    """Return all values that a parameter may have: those of its search variable, or its own."""
    field = STAGES[use.stage].model().model_fields.get(key)
    own = use.params.get(key, None if field is None else field.default)
    if isinstance(own, str) and own.startswith("$"):
        return arm.search[own[1:]].values
    return ("unknown",) if own is None else (own,)
