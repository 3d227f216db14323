"""From a parsed study file to a `Study`, with everything that is wrong said at once."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wsss.config.check_tuning import check_scheduler, check_searcher, scheduler_of, searcher_of, stop_rules
from wsss.config.checker import Checker
from wsss.config.location import Location, parse_location
from wsss.config.naming import study_name_problem
from wsss.config.resolve import (
    SCORED_STAGES,
    STAGE_INPUTS,
    check_stage_params,
    inputs_of,
    made_by,
    variables_in,
)
from wsss.config.search import Distribution, parse_distribution
from wsss.config.study import Arm, Base, Budget, DataSpec, Resources, StageUse, Study, Sweep, Tracking
from wsss.config.yaml_text import Document, Path_
from wsss.errors import ConfigError, nearest

STUDY_KEYS = ("name", "base", "data", "seed", "sweeps", "storage", "retain", "tracking", "budget")
SWEEP_KEYS = (
    *("name", "arms", "stages", "search", "samples", "metric"),
    *("searcher", "scheduler", "stop_below", "resources", "keep", "seeds", "replicate"),
)
ARM_KEYS = ("stages", "search", "samples", "keep", "control", "stop_below")
FOLDERS = ("cams", "masks")
"""Parameters of `import` that are paths."""


def check_study(
    document: Document,
    base: Path,
    *,
    name: str,
    storage: Path,
    overridden: Mapping[Path_, str] | None = None,
    known: bool = False,
) -> Study:
    """Return the study a document describes. Raises `ConfigError` with every problem found.

    `base` is the folder that relative data paths refer to; `name` and `storage` are used where the
    file has none. `known`: a storage has it under its name already, which an earlier version may have
    allowed.
    """
    checker = Checker(document, base, overridden)
    raw = checker.mapping(document.value, (), STUDY_KEYS, "the study")
    data = checker.group(DataSpec, raw.get("data", {}), ("data",), DataSpec())
    if "data" not in raw:
        checker.add((), "`data` is missing")
    _check_splits(checker, data)
    data = data.resolved(base)
    _check_folder(checker, data, raw.get("data"))
    start = checker.group(Base, raw["base"], ("base",), None) if raw.get("base") is not None else None
    sweeps = _sweeps(checker, raw.get("sweeps"), based=raw.get("base") is not None)
    _check_supervision(checker, data, sweeps)
    _check_test(checker, data, sweeps)
    seed = checker.whole(raw, "seed", (), 0, 0)
    retain = checker.one_of(raw, "retain", (), ("kept", "all"))
    tracking = checker.group(Tracking, raw.get("tracking") or {}, ("tracking",), Tracking())
    budget = checker.group(Budget, raw.get("budget") or {}, ("budget",), Budget())
    own_name = _study_name(checker, raw.get("name", name), known=known)
    place: Location = storage
    stored = raw.get("storage")
    if stored is not None and not isinstance(stored, str):
        checker.add(("storage",), f"`storage` is {stored!r}, but must be a folder or an address")
    elif stored:
        try:
            place = parse_location(stored)
        except ValueError as error:
            message, _, hint = str(error).partition("|")
            checker.add(("storage",), f"`storage` {message}", hint)
    if checker.problems:
        raise ConfigError(checker.problems)
    return Study(own_name, data, tuple(sweeps), place, seed, retain, tracking, start, budget)


def _study_name(checker: Checker, value: Any, *, known: bool) -> str:
    name = checker.name(value, ("name",), "the study")
    problem = study_name_problem(name) if name and not known else ""
    if problem:
        checker.add(("name",), problem, "give it another with --name NAME")
    return name


def _check_splits(checker: Checker, data: DataSpec) -> None:
    pairs = (("report", data.report, "select", data.select), ("test", data.test, "select", data.select),
             ("test", data.test, "report", data.report))  # fmt: skip
    for name, spec, other_name, other in pairs:
        if "select_on_report" in data.allow and other_name == "select":
            continue
        if spec is not None and other is not None and spec.overlaps(other):
            message = f"`{name}` ({spec}) shares images with `{other_name}` ({other})"
            hint = (
                "a number is only honest on images that nothing was chosen on; use two halves or two splits"
            )
            checker.add(("data", name), message, hint)


def _check_folder(checker: Checker, data: DataSpec, raw: Any) -> None:
    """Check what only a folder of photos may say, and what one without masks may not."""
    if data.dataset != "folder":
        for key, value in (("labels", data.labels), ("masks", data.masks)):
            if value is not None:
                checker.add(("data", key), f"`{key}` belongs to `dataset: folder`, not to {data.dataset}")
        return
    if data.scored:
        return
    checker.judge = "holdout" if data.holdout else "nothing"
    for key in ("select", "report", "test"):
        given = raw.get(key) if isinstance(raw, Mapping) else None
        spec = getattr(data, key)
        if given is not None and spec is not None and spec.split != "masked":
            message = f"`{key}` ({spec}) names images with masks, but there are none"
            checker.add(
                ("data", key), message, "put masks into the folder's `masks`, or say `data.masks: FOLDER`"
            )


def _check_supervision(checker: Checker, data: DataSpec, sweeps: Sequence[Sweep]) -> None:
    if "train_on_masks" in data.allow and data.scored:
        return
    for number, sweep in enumerate(sweeps):
        for arm in sweep.arms:
            for place, use in enumerate(arm.stages):
                asked = use.params.get("supervision")
                tried = [arm.search[name].values for name in variables_in(asked) if name in arm.search]
                if asked == "masks" or any("masks" in values for values in tried):
                    own = ("arms", arm.name) if arm.name != sweep.name else ()
                    path = ("sweeps", number, *own, "stages", place, use.stage, "supervision")
                    message = f"arm `{arm.name}` trains on pixel masks, which are for evaluation"
                    hint = "if it is meant as a control, say `data.allow: [train_on_masks]`"
                    if not data.scored:
                        message, hint = f"arm `{arm.name}` trains on pixel masks, but there are none", ""
                    checker.add(path, message, hint)


def _check_test(checker: Checker, data: DataSpec, sweeps: Sequence[Sweep]) -> None:
    if data.test is not None:
        return
    for number, sweep in enumerate(sweeps):
        for arm in sweep.arms:
            for place, use in enumerate(arm.stages):
                if use.stage == "segmentations":
                    own = ("arms", arm.name) if arm.name != sweep.name else ()
                    path = ("sweeps", number, *own, "stages", place, use.stage)
                    message = "`segmentations` are scored on `data.test`, which is missing"
                    checker.add(
                        path, message, "name images that nothing was trained on: `test: {split: val}`"
                    )


def _sweeps(checker: Checker, raw: Any, *, based: bool) -> list[Sweep]:
    if not isinstance(raw, list) or not raw:
        checker.add(("sweeps",), "`sweeps` must be a list with at least one sweep")
        return []
    sweeps: list[Sweep] = []
    # What a base has made is known when it is opened; until then it may have made anything.
    made: set[str] = set(STAGE_INPUTS) if based else set()
    for number, entry in enumerate(raw):
        sweep = _sweep(checker, entry, ("sweeps", number), sweeps, made, based=based)
        if sweep is not None:
            if sweep.name in {other.name for other in sweeps}:
                checker.add(("sweeps", number, "name"), f"two sweeps are named {sweep.name!r}")
            sweeps.append(sweep)
            made |= {made_by(use.stage, use.params) for arm in sweep.arms for use in arm.stages}
    return sweeps


def _sweep(
    checker: Checker, entry: Any, path: Path_, earlier: Sequence[Sweep], made: set[str], *, based: bool
) -> Sweep | None:
    raw = checker.mapping(entry, path, SWEEP_KEYS, "a sweep")
    if not raw:
        return None
    name = checker.name(raw.get("name"), (*path, "name"), "a sweep")
    searcher = searcher_of(checker, raw, path)
    scheduler = scheduler_of(checker, raw, path)
    resources = checker.group(Resources, raw.get("resources", {}), (*path, "resources"), Resources())
    keep = checker.whole(raw, "keep", path, 1, 1)
    seeds = _seeds(checker, raw.get("seeds", []), (*path, "seeds"))
    replicate = raw.get("replicate")
    arms: tuple[Arm, ...] = ()
    if replicate is not None:
        names = [sweep.name for sweep in earlier]
        if replicate not in names:
            checker.add(
                (*path, "replicate"),
                f"no earlier sweep is named {replicate!r}",
                nearest(str(replicate), names),
            )
        if not seeds:
            checker.add((*path, "replicate"), "a replicating sweep needs `seeds`")
        for key in SWEEP_KEYS:
            if key in raw and key not in ("name", "resources", "seeds", "replicate"):
                checker.add((*path, key), f"`{key}` has no meaning in a sweep that replicates another")
    elif ("arms" in raw) == ("stages" in raw):
        checker.add(path, "a sweep needs either `arms` or `stages`")
    elif "stages" in raw:
        own = {key: raw[key] for key in ("stages", "search", "samples") if key in raw}
        arms = _one(_arm(checker, name, own, path, searcher.kind, made))
    else:
        for key in ("search", "samples"):
            if key in raw:
                checker.add((*path, key), f"`{key}` belongs into an arm when a sweep has `arms`")
        named = raw["arms"] if isinstance(raw["arms"], Mapping) else {}
        if not named:
            checker.add((*path, "arms"), "`arms` must map at least one name to an arm")
        arms = tuple(
            arm
            for arm_name, content in named.items()
            for arm in _one(_arm(checker, arm_name, content, (*path, "arms", arm_name), searcher.kind, made))
        )
    for arm in arms:
        others = [other.name for other in arms if other.name != arm.name]
        if arm.control is not None and arm.control not in others:
            message = f"the control of arm `{arm.name}` is {arm.control!r}"
            checker.add((*path, "arms", arm.name, "control"), message, nearest(str(arm.control), others))
    metric = _metric(checker, raw, path, arms, replicate is not None)
    if seeds and (earlier or based) and replicate is None:
        where = "one with `replicate`" if based else "the first sweep or one with `replicate`"
        checker.add((*path, "seeds"), f"`seeds` belongs into {where}")
    check_searcher(checker, searcher, arms, metric, path)
    check_scheduler(
        checker,
        scheduler,
        arms,
        path,
        named="arms" in raw,
        seeds=seeds,
        first=not earlier and not based,
        searcher=searcher,
    )
    rules = stop_rules(checker, raw.get("stop_below"), arms, (*path, "stop_below"))
    return Sweep(
        name, arms, metric, searcher, resources, keep, seeds, replicate, scheduler=scheduler, stop_below=rules
    )


def _one(arm: Arm | None) -> tuple[Arm, ...]:
    return () if arm is None else (arm,)


def _seeds(checker: Checker, raw: Any, path: Path_) -> tuple[int, ...]:
    good = isinstance(raw, list) and all(
        isinstance(s, int) and not isinstance(s, bool) and s >= 0 for s in raw
    )
    if not good or len(set(raw)) < len(raw):
        checker.add(path, f"`seeds` is {raw!r}, but must be a list of different whole numbers")
        return ()
    return tuple(raw)


def _metric(
    checker: Checker, raw: Mapping[str, Any], path: Path_, arms: Sequence[Arm], replicates: bool
) -> str | None:
    kinds = {"masks": SCORED_STAGES, "holdout": ("classifier",), "nothing": ()}[checker.judge]
    scored = [[use.name for use in arm.stages if made_by(use.stage, use.params) in kinds] for arm in arms]
    common = [name for name in (scored[0] if scored else []) if all(name in names for names in scored)]
    metric = raw.get("metric")
    score = "select/miou" if checker.judge == "masks" else "holdout/mAP"
    if metric is None or replicates:
        return f"{common[-1]}/{score}" if common and not replicates else None
    choices = [f"{name}/{score}" for name in common]
    if isinstance(metric, str) and re.search(r"/(report|test|published)/", metric):
        hint = "a search may only look at `select`"
        checker.add((*path, "metric"), f"`metric` is {metric!r}, which is for reporting", hint)
    elif metric not in choices and checker.judge != "masks":
        hint = f"choose from {', '.join(choices)}" if choices else "leave it out: all trials are kept"
        message = f"`metric` is {metric!r}, but without masks only hold-out mAP can be measured"
        checker.add((*path, "metric"), message, hint)
    elif metric not in choices:
        hint = nearest(str(metric), choices)
        if str(metric).endswith("/holdout/mAP"):
            hint = f"there are masks, which judge CAMs better than a classifier's mAP; {hint}"
        checker.add((*path, "metric"), f"`metric` is {metric!r}", hint)
    return str(metric)


def _arm(checker: Checker, name: str, entry: Any, path: Path_, searcher: str, made: set[str]) -> Arm | None:
    raw = checker.mapping(entry, path, ARM_KEYS, f"arm `{name}`")
    checker.name(name, path, "an arm")
    search = _search(checker, raw.get("search", {}), (*path, "search"))
    samples = checker.whole(raw, "samples", path, None, 1)
    keep = checker.whole(raw, "keep", path, None, 1)
    endless = [key for key, values in search.items() if not values.countable]
    if endless and (searcher == "grid" or (samples is None and searcher != "optuna")):
        reason = "the grid searcher" if searcher == "grid" else "an arm without `samples`"
        hint = "use `choice`, or `searcher: random` with `samples`"
        checker.add(
            (*path, "search", endless[0]), f"{reason} can't go through every value of `{endless[0]}`", hint
        )
    uses = _stages(checker, raw.get("stages"), (*path, "stages"), made)
    used = {word for use in uses for word in variables_in(use.params)}
    for variable in search:
        if variable not in used:
            checker.add((*path, "search", variable), f"the search variable `{variable}` is never used")
    for number, use in enumerate(uses):
        check_stage_params(checker, use, search, (*path, "stages", number, use.stage), (*path, "search"))
    arm = Arm(name, tuple(uses), search, samples, keep, raw.get("control"))
    if raw.get("stop_below") is None:
        return arm
    return replace(arm, stop_below=stop_rules(checker, raw["stop_below"], [arm], (*path, "stop_below")))


def _search(checker: Checker, raw: Any, path: Path_) -> dict[str, Distribution]:
    if not isinstance(raw, Mapping):
        checker.add(path, f"`search` must map variables to what they are drawn from, but is {raw!r}")
        return {}
    found = {}
    for name, content in raw.items():
        distribution, message, hint = parse_distribution(content)
        if distribution is None:
            checker.add((*path, name), f"the search variable `{name}` {message}", hint)
        else:
            found[name] = distribution
    return found


def _stages(checker: Checker, raw: Any, path: Path_, made: set[str]) -> list[StageUse]:
    if not isinstance(raw, list) or not raw:
        checker.add(path, "`stages` must be a list with at least one stage")
        return []
    uses: list[StageUse] = []
    for number, entry in enumerate(raw):
        single = {entry: {}} if isinstance(entry, str) else entry
        if not isinstance(single, Mapping) or len(single) != 1:
            checker.add(
                (*path, number), f"a stage must be a name or `name: {{parameters}}`, but is {entry!r}"
            )
            continue
        stage, content = next(iter(single.items()))
        at = (*path, number, stage)
        if stage not in STAGE_INPUTS:
            checker.add(at, f"there is no stage {stage!r}", nearest(stage, tuple(STAGE_INPUTS)))
            continue
        if content is not None and not isinstance(content, Mapping):
            checker.add(at, f"the parameters of `{stage}` must be a mapping, but are {content!r}")
            continue
        params = dict(content or {})
        if stage == "import":
            # Like other paths of the file, they are relative to it.
            for key in FOLDERS:
                if isinstance(params.get(key), str):
                    params[key] = os.path.normpath(checker.base / params[key])
        name, source = params.pop("as", stage), params.pop("from", None)
        checker.name(name, at, "a stage")
        _check_inputs(checker, stage, params, source, uses, made, at)
        if name in {use.name for use in uses}:
            checker.add(at, f"two stages are named {name!r}", "give one of them a name with `as:`")
        uses.append(StageUse(stage, params, str(name), source))
    return uses


def _check_inputs(
    checker: Checker,
    stage: str,
    params: Mapping[str, Any],
    source: Any,
    uses: Sequence[StageUse],
    made: set[str],
    at: Path_,
) -> None:
    available = made | {made_by(use.stage, use.params) for use in uses}
    for needed in inputs_of(stage, params):
        if needed not in available:
            hint = f"put `{needed}` before it" if needed in STAGE_INPUTS else ""
            checker.add(at, f"`{stage}` needs `{needed}`, which no earlier stage makes", hint)
    if source is not None:
        names = [use.name for use in uses]
        if source not in names and source not in made:
            checker.add(
                at, f"`from` is {source!r}, but no earlier stage is named so", nearest(str(source), names)
            )
