"""Checking one arm of a sweep: what it searches, and its chain of stages."""

from __future__ import annotations

from collections.abc import Sequence

from wsss.config.checks.checker import Checker
from wsss.config.checks.size import check_arm_size
from wsss.config.params.base import Params
from wsss.config.resolve import check_stage_params, kinds_made, variables_in
from wsss.config.stage import STAGES, study_stages
from wsss.config.study import Arm, StageUse
from wsss.config.text.yaml_text import Path_
from wsss.config.tuning import Searcher
from wsss.errors import quoted, shortened


def check_arm(checker: Checker, arm: Arm, path: Path_, searcher: Searcher, made: set[str]) -> None:
    """Check an arm of `arms`, or a sweep's own stages.

    Args:
        checker: takes the problems.
        arm: the arm.
        path: where it stands in the file.
        searcher: the sweep's.
        made: kinds of artefacts that earlier sweeps make.
    """
    search = arm.search
    check_arm_size(checker, searcher.kind, search, arm.samples, (*path, "search"))
    endless = [key for key, values in search.items() if not values.countable]
    unlimited = arm.samples is None and not checker.is_left_out((*path, "samples"))
    if endless and (searcher.whole or (unlimited and not searcher.learns)):
        reason = f"the {searcher.kind} searcher" if searcher.whole else "an arm without `samples`"
        hint = "use `choice`, or `searcher: random` with `samples`"
        checker.add(
            (*path, "search", endless[0]),
            f"{reason} can't go through every value of `{shortened(endless[0])}`",
            hint,
        )
    if not arm.stages and not checker.is_left_out((*path, "stages")):
        checker.add((*path, "stages"), "`stages` must be a list with at least one stage")
    used = {word for use in arm.stages for word in variables_in(use.params)}
    for variable in search:
        if variable not in used:
            checker.add(
                (*path, "search", variable), f"the search variable `{shortened(variable)}` is never used"
            )
    available = set(made)
    names: list[str] = []
    for number, use in enumerate(arm.stages):
        at = (*path, "stages", number, use.stage)
        if use.source is not None and use.source not in names and use.source not in made:
            message = f"`from` is {quoted(use.source)}, but no earlier stage is named so"
            checker.add(at, message, checker.nearest(use.source, names))
        if use.name in names:
            checker.add(at, f"two stages are named {quoted(use.name)}", "give one of them a name with `as:`")
        if not checker.is_left_out((*at, "as")):
            names.append(use.name)
        tried = check_stage_params(checker, use, search, at, (*path, "search"))
        _check_inputs(checker, use, tried, available, at)
        available.update(kinds_made(use, tried))


def _check_inputs(
    checker: Checker, use: StageUse, tried: Sequence[Params], available: set[str], at: Path_
) -> None:
    """Refuse a stage that reads, with any of the parameters `tried`, an artefact that no stage makes."""
    kind = STAGES[use.stage]
    for needed in dict.fromkeys(needed for params in tried for needed in kind.follows(params)):
        if needed not in available:
            hint = f"put `{needed}` before it" if needed in study_stages() else ""
            checker.add(at, f"`{use.stage}` needs `{needed}`, which no earlier stage makes", hint)
