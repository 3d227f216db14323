"""Checking one arm of a sweep: what it searches, and its chain of stages."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from wsss.config.checks.checker import Checker
from wsss.config.checks.fairness import declared
from wsss.config.checks.size import MOST_STAGES, MOST_TRIALS, check_arm_size
from wsss.config.checks.tuning import stop_rules
from wsss.config.params.base import Params
from wsss.config.resolve import check_stage_params, kinds_made, variables_in
from wsss.config.search import Distribution, parse_distribution
from wsss.config.stage import STAGES, study_stages
from wsss.config.study import Arm, StageUse
from wsss.config.text.yaml_text import Path_
from wsss.config.tuning import Searcher
from wsss.errors import quoted, shortened

ARM_KEYS = ("stages", "search", "samples", "keep", "control", "stop_below", "supervision")


def check_arm(
    checker: Checker, name: str, entry: Any, path: Path_, searcher: Searcher, made: set[str]
) -> Arm | None:
    """Return the arm that an entry of `arms` describes, or a sweep's own `stages`.

    Args:
        name: The arm's; a problem when it can be none.
        path: Where the entry stands in the file.
        searcher: The sweep's.
        made: Kinds of artefacts that earlier sweeps make.
    """
    raw = checker.mapping(entry, path, ARM_KEYS, f"arm `{shortened(name)}`")
    checker.name(name, path, "an arm")
    search = _search(checker, raw.get("search", {}), (*path, "search"))
    samples = checker.whole(raw, "samples", path, None, 1, MOST_TRIALS)
    keep = checker.whole(raw, "keep", path, None, 1, MOST_TRIALS)
    check_arm_size(checker, searcher.kind, search, samples, (*path, "search"))
    endless = [key for key, values in search.items() if not values.countable]
    if endless and (searcher.whole or ("samples" not in raw and not searcher.learns)):
        reason = f"the {searcher.kind} searcher" if searcher.whole else "an arm without `samples`"
        hint = "use `choice`, or `searcher: random` with `samples`"
        checker.add(
            (*path, "search", endless[0]),
            f"{reason} can't go through every value of `{shortened(endless[0])}`",
            hint,
        )
    found = _stages(checker, raw.get("stages"), (*path, "stages"), made)
    uses = list(found.values())
    used = {word for use in uses for word in variables_in(use.params)}
    for variable in search:
        if variable not in used:
            checker.add(
                (*path, "search", variable), f"the search variable `{shortened(variable)}` is never used"
            )
    available = set(made)
    for number, use in found.items():
        at = (*path, "stages", number, use.stage)
        tried = check_stage_params(checker, use, search, at, (*path, "search"))
        _check_inputs(checker, use, tried, available, at)
        available.update(kinds_made(use, tried))
    labels = declared(checker, raw.get("supervision"), (*path, "supervision"))
    arm = Arm(name, tuple(uses), search, samples, keep, raw.get("control"), supervision=labels)
    if raw.get("stop_below") is None:
        return arm
    return replace(arm, stop_below=stop_rules(checker, raw["stop_below"], [arm], (*path, "stop_below")))


def _search(checker: Checker, raw: Any, path: Path_) -> dict[str, Distribution]:
    if not isinstance(raw, Mapping):
        checker.add(path, f"`search` must map variables to what they are drawn from, but is {quoted(raw)}")
        return {}
    found = {}
    for name, content in raw.items():
        distribution, message, hint = parse_distribution(content)
        if distribution is None:
            checker.add((*path, name), f"the search variable `{shortened(name)}` {message}", hint)
        else:
            found[name] = distribution
    return found


def _stages(checker: Checker, raw: Any, path: Path_, made: set[str]) -> dict[int, StageUse]:
    """Return the stages by their places in the list."""
    if not isinstance(raw, list) or not raw:
        checker.add(path, "`stages` must be a list with at least one stage")
        return {}
    if len(raw) > MOST_STAGES:
        checker.add(path, f"there are {len(raw)} stages, but may be {MOST_STAGES}")
        return {}
    uses: dict[int, StageUse] = {}
    for number, entry in enumerate(raw):
        single = {entry: {}} if isinstance(entry, str) else entry
        if not isinstance(single, Mapping) or len(single) != 1:
            checker.add(
                (*path, number), f"a stage must be a name or `name: {{parameters}}`, but is {quoted(entry)}"
            )
            continue
        stage, content = next(iter(single.items()))
        at = (*path, number, stage)
        if stage not in study_stages():
            checker.add(at, f"there is no stage {quoted(stage)}", checker.nearest(stage, study_stages()))
            continue
        if content is not None and not isinstance(content, Mapping):
            checker.add(at, f"the parameters of `{stage}` must be a mapping, but are {quoted(content)}")
            continue
        params = dict(content or {})
        for key in STAGES[stage].paths:  # like other paths of the file, they are relative to it
            if isinstance(params.get(key), str):
                params[key] = os.path.normpath(checker.base / params[key])
        name, source = params.pop("as", stage), params.pop("from", None)
        name = checker.name(name, at, "a stage") or stage
        if source is not None and not isinstance(source, str):
            checker.add(at, f"`from` is {quoted(source)}, but must be the name of an earlier stage")
            source = None
        names = [use.name for use in uses.values()]
        if source is not None and source not in names and source not in made:
            message = f"`from` is {quoted(source)}, but no earlier stage is named so"
            checker.add(at, message, checker.nearest(source, names))
        if name in names:
            checker.add(at, f"two stages are named {quoted(name)}", "give one of them a name with `as:`")
        uses[number] = StageUse(stage, params, name, source)
    return uses


def _check_inputs(
    checker: Checker, use: StageUse, tried: Sequence[Params], available: set[str], at: Path_
) -> None:
    """Refuse a stage that reads, with any of the parameters that were `tried`, what nothing makes."""
    kind = STAGES[use.stage]
    for needed in dict.fromkeys(needed for params in tried for needed in kind.follows(params)):
        if needed not in available:
            hint = f"put `{needed}` before it" if needed in study_stages() else ""
            checker.add(at, f"`{use.stage}` needs `{needed}`, which no earlier stage makes", hint)
