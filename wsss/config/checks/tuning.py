"""Checking a sweep's searcher, scheduler and `stop_below` against its arms, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from wsss.config.checks.checker import Checker
from wsss.config.checks.size import check_parts
from wsss.config.naming import SELECT_MIOU, is_reported
from wsss.config.resolve import is_ranked, placed_variables, resolve_stage, variables_in
from wsss.config.search import first_values
from wsss.config.stage import STAGES
from wsss.config.study import Arm, StageUse, Sweep
from wsss.config.text.yaml_text import Path_
from wsss.config.tuning import Pbt, Scheduler, StopRule
from wsss.errors import ConfigError, quoted


def check_searcher(checker: Checker, sweep: Sweep, path: Path_) -> None:
    """Refuse a search that learns without a score to learn from, or without an end."""
    searcher = sweep.searcher
    if not searcher.learns:
        return
    if sweep.metric is None:
        hint = "end the arms with `cams` or `pseudo_masks`"
        checker.add(
            (*path, "searcher"), f"{searcher.kind} needs a score to learn from, but no stage is scored", hint
        )
    for arm in sweep.arms:
        if arm.search and arm.samples is None:
            checker.add(
                (*path, "searcher"), f"{searcher.kind} needs to know how many `samples` arm `{arm.name}` gets"
            )


def check_scheduler(checker: Checker, sweep: Sweep, path: Path_, *, first: bool) -> None:
    """Refuse a scheduler that could never judge, or that would compare what can't be compared.

    An arm without `search` has one trial: there is nothing to compare it with.

    Args:
        checker: takes the problems.
        sweep: the sweep.
        path: where the sweep stands in the file.
        first: whether it is the first one of a study without `base`.
    """
    scheduler, searcher = sweep.scheduler, sweep.searcher
    if not scheduler.judges:
        return
    if checker.judge != "masks":
        message = f"`{scheduler.kind}` judges by rung scores, but there are no masks to score with"
        checker.add((*path, "scheduler"), message, "leave `scheduler` out")
        return
    if sweep.seeds:
        message = f"`{scheduler.kind}` would judge the seeds of a configuration against each other"
        checker.add((*path, "seeds"), message, "search on one seed, then `replicate` what was kept")
    if isinstance(scheduler, Pbt):
        if not first:
            checker.add((*path, "scheduler"), "`pbt` belongs into the first sweep of a study without `base`")
        if searcher.learns:
            one = f"{searcher.kind} asks for one trial at a time"
            message = f"`pbt` begins with the whole population, but {one}"
            checker.add((*path, "searcher"), message, "use `searcher: random`")
    for arm in [arm for arm in sweep.arms if arm.search] or sweep.arms:
        own = (*path, *sweep.place(arm))
        uses = [(number, use) for number, use in enumerate(arm.stages) if STAGES[use.stage].judged]
        if not uses:
            message = f"`{scheduler.kind}` judges classifier epochs, but arm `{arm.name}` has no classifier"
            checker.add((*path, "scheduler"), message, "leave `scheduler` out; `stop_below` judges scores")
            continue
        number, use = uses[-1]
        _check_judged(checker, scheduler, arm, use, (*own, "stages", number, use.stage))


def _check_judged(checker: Checker, scheduler: Scheduler, arm: Arm, use: StageUse, at: Path_) -> None:
    """Check a classifier, which stands at `at`, and whose epochs a scheduler judges."""
    searched = list(variables_in(use.params.get("epochs")))
    if searched:
        message = f"`{scheduler.kind}` can't judge trials of different lengths, but `epochs` is searched"
        checker.add((*at[:-3], "search", searched[0]), message, "fix `epochs`, or use `scheduler: fifo`")
        return
    rung = use.params.get("rung")
    images = list(variables_in(rung.get("images"))) if isinstance(rung, Mapping) else []
    first = first_values(arm.search)
    tried = [first, *({**first, name: value} for name in images for value in _values(arm, name))]
    try:
        resolved: list[Any] = [resolve_stage(use, values) for values in tried]
    except (ConfigError, KeyError):
        return  # reported where it was read
    epochs = resolved[0].epochs
    key = scheduler.begins
    if getattr(scheduler, key, 0) > epochs:
        has = f"the classifier of arm `{arm.name}` has {epochs} epochs"
        message = f"`{key}` is {getattr(scheduler, key)}, but {has}"
        checker.add((*at, "epochs"), message, "nothing would ever be judged")
    if isinstance(scheduler, Pbt):
        check_parts(checker, scheduler, epochs, (*at[:2], "scheduler"))
        _check_mutations(checker, scheduler, arm, use, at)
    if any(params.rung.images == 0 for params in resolved):
        message = f"`{scheduler.kind}` judges by rung scores, but arm `{arm.name}` has `rung.images` 0"
        checker.add((*at, "rung", "images"), message, "give some images, or use `scheduler: fifo`")


def _check_mutations(checker: Checker, scheduler: Pbt, arm: Arm, use: StageUse, at: Path_) -> None:
    """Refuse to change, while a classifier trains, a parameter of its network or its data."""
    where = (*at[:2], "scheduler", "mutate")
    mutable = STAGES[use.stage].mutable()
    for name in scheduler.mutate:
        if name not in arm.search:
            hint = checker.nearest(name, arm.search) if arm.search else "it has no `search`"
            checker.add(
                (*where, name), f"`mutate` names {quoted(name)}, which arm `{arm.name}` doesn't search", hint
            )
            continue
        places = [path for path, variable in placed_variables(use.params) if variable == name]
        elsewhere = [
            other.name for other in arm.stages if other is not use and name in variables_in(other.params)
        ]
        fixed = [path for path in places if path not in mutable]
        if fixed or elsewhere:
            used = f"`{fixed[0]}`" if fixed else f"stage `{elsewhere[0]}`"
            message = f"`mutate` names {quoted(name)}, but {used} can't change while a classifier trains"
            checker.add((*where, name), message, f"only {', '.join(mutable)} of the last classifier can")


def _values(arm: Arm, name: str) -> tuple[Any, ...]:
    return tuple(arm.search[name].values) if name in arm.search else ()


def check_rules(
    checker: Checker, rules: tuple[StopRule, ...], arms: Sequence[Arm], path: Path_
) -> tuple[StopRule, ...]:
    """Return the rules of a `stop_below`, each with its metric: by default that of the first scored stage.

    A rule needs an arm with something left to do after the stage that it looks at.

    Args:
        checker: takes the problems.
        rules: as the file has them.
        arms: whose trials they stop.
        path: where `stop_below` stands.
    """
    if not rules:
        return ()
    if checker.judge != "masks":
        checker.add(path, "`stop_below` looks at scores, but there are no masks to score with")
        return ()
    scored = {f"{use.name}/{SELECT_MIOU}": use.name for arm in arms for use in arm.stages if is_ranked(use)}
    if not scored:
        checker.add(path, "`stop_below` needs a scored stage (`cams`, `pseudo_masks`)")
        return ()
    found = []
    for rule in rules:
        at = (*path, rule.metric) if rule.metric else path
        metric = rule.metric or next(iter(scored))
        if is_reported(metric):
            hint = "a search may only look at `select`"
            checker.add(at, f"`stop_below` looks at {quoted(metric)}, which is for reporting", hint)
            continue
        if metric not in scored:
            checker.add(at, f"`stop_below` looks at {quoted(metric)}", checker.nearest(metric, scored))
            continue
        name = scored[metric]
        if not any(use.name == name and arm.stages[-1] is not use for arm in arms for use in arm.stages):
            checker.add(at, f"`stop_below` looks at {quoted(metric)}, but no stage comes after `{name}`")
            continue
        found.append(replace(rule, metric=metric))
    return tuple(found)
