"""From a parsed study file to a `Study`, with everything that is wrong said at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsss.addresses import refusal
from wsss.config.checks.arms import check_arm
from wsss.config.checks.checker import Checker
from wsss.config.checks.data import check_folder, check_splits, check_supervision, check_test
from wsss.config.checks.fairness import allowed, check_declared, check_fairness
from wsss.config.checks.protocol import filled, protocol_of
from wsss.config.checks.size import MOST_SEEDS, MOST_SWEEPS, MOST_TRIALS, check_trials
from wsss.config.checks.tuning import check_scheduler, check_searcher, scheduler_of, searcher_of, stop_rules
from wsss.config.naming import study_name_problem
from wsss.config.resolve import is_scored, kinds_made
from wsss.config.stage import STAGES, scored_as
from wsss.config.study import Arm, Base, Budget, DataSpec, Resources, StageUse, Study, Sweep, Tracking
from wsss.config.text.location import Location, parse_location
from wsss.config.text.overrides import ADDRESSES
from wsss.config.text.yaml_text import Document, Path_
from wsss.errors import ConfigError, quoted

LARGEST_SEED = 2**32 - 1
MAP_SCORES = ("select/area", "select/pxap")
"""Scores of maps that no threshold enters."""
STUDY_KEYS = (
    "name",
    "base",
    "data",
    "protocol",
    "allow",
    "seed",
    "sweeps",
    "storage",
    "retain",
    "tracking",
    "budget",
)
SWEEP_KEYS = (
    *("name", "arms", "stages", "search", "samples", "metric"),
    *("searcher", "scheduler", "stop_below", "resources", "keep", "seeds", "replicate", "supervision"),
)


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
    _refuse_secrets(checker, document.value, ())
    raw = checker.mapping(document.value, (), STUDY_KEYS, "the study")
    protocol = protocol_of(checker, raw.get("protocol"))
    if protocol is not None:
        raw = filled(checker, raw, protocol)
    data = checker.group(DataSpec, raw.get("data", {}), ("data",), DataSpec())
    if "data" not in raw:
        checker.add((), "`data` is missing")
    check_splits(checker, data)
    try:
        data = data.resolved(base)
    except ValueError as error:
        key, _, message = str(error).partition("|")
        checker.add(("data", key), f"`data.{key}` {message}")
    check_folder(checker, data, raw.get("data"))
    start = checker.group(Base, raw["base"], ("base",), None) if raw.get("base") is not None else None
    sweeps = _sweeps(checker, raw.get("sweeps"), based=raw.get("base") is not None)
    check_supervision(checker, data, sweeps)
    check_test(checker, data, sweeps)
    allow = allowed(checker, raw.get("allow"))
    if not known and not checker.problems:
        check_fairness(checker, allow, sweeps)
        check_declared(checker, sweeps)
    seed = checker.whole(raw, "seed", (), 0, 0, LARGEST_SEED)
    retain = checker.one_of(raw, "retain", (), ("kept", "all"))
    tracking = _group_or_none(checker, raw, "tracking", Tracking())
    budget = _group_or_none(checker, raw, "budget", Budget())
    own_name = _study_name(checker, raw.get("name", name), known=known)
    place: Location = storage
    stored = raw.get("storage")
    if stored is not None and not isinstance(stored, str):
        checker.add(("storage",), f"`storage` is {quoted(stored)}, but must be a folder or an address")
    elif stored:
        try:
            place = parse_location(stored)
        except ValueError as error:
            message, _, hint = str(error).partition("|")
            if not refusal(stored):
                checker.add(("storage",), f"`storage` {message}", hint)
    if checker.problems:
        raise ConfigError(checker.problems, more=checker.more)
    return Study(own_name, data, tuple(sweeps), place, seed, retain, tracking, start, budget, allow, protocol)


def _study_name(checker: Checker, value: Any, *, known: bool) -> str:
    name = checker.name(value, ("name",), "the study")
    problem = study_name_problem(name) if name and not known else ""
    if problem:
        checker.add(("name",), problem, "give it another with --name NAME")
    return name


def _refuse_secrets(checker: Checker, value: Any, path: Path_) -> None:
    """Refuse every address that holds a secret, wherever it stands: what is resolved is written down."""
    if isinstance(value, Mapping):
        for key, content in value.items():
            _refuse_secrets(checker, content, (*path, key))
    elif isinstance(value, list):
        for number, content in enumerate(value):
            _refuse_secrets(checker, content, (*path, number))
    elif not isinstance(value, str):
        return
    elif refused := refusal(value) if "://" in value or ".".join(map(str, path)) in ADDRESSES else None:
        checker.add(path, f"`{path[-1] if path else 'study'}` {refused[0]}", refused[1])


def _group_or_none(checker: Checker, raw: Mapping[str, Any], key: str, default: Any) -> Any:
    content = raw.get(key)
    return default if content is None else checker.group(type(default), content, (key,), default)


def _sweeps(checker: Checker, raw: Any, *, based: bool) -> list[Sweep]:
    if not isinstance(raw, list) or not raw:
        checker.add(("sweeps",), "`sweeps` must be a list with at least one sweep")
        return []
    if len(raw) > MOST_SWEEPS:
        checker.add(("sweeps",), f"there are {len(raw)} sweeps, but may be {MOST_SWEEPS}")
        return []
    sweeps: list[Sweep] = []
    # What a base has made is known when it is opened; until then it may have made anything.
    made: set[str] = set(STAGES.names()) if based else set()
    for number, entry in enumerate(raw):
        sweep = _sweep(checker, entry, ("sweeps", number), sweeps, made, based=based)
        if sweep is not None:
            if sweep.name in {other.name for other in sweeps}:
                checker.add(("sweeps", number, "name"), f"two sweeps are named {quoted(sweep.name)}")
            sweeps.append(sweep)
            made |= {kind for arm in sweep.arms for use in arm.stages for kind in kinds_made(use)}
    check_trials(checker, sweeps)
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
    keep = checker.whole(raw, "keep", path, 1, 1, MOST_TRIALS)
    seeds = _seeds(checker, raw.get("seeds", []), (*path, "seeds"))
    replicate = raw.get("replicate")
    arms: tuple[Arm, ...] = ()
    if replicate is not None:
        names = [sweep.name for sweep in earlier]
        if replicate not in names:
            checker.add(
                (*path, "replicate"),
                f"no earlier sweep is named {quoted(replicate)}",
                checker.nearest(replicate, names),
            )
        if not seeds:
            checker.add((*path, "replicate"), "a replicating sweep needs `seeds`")
        for key in SWEEP_KEYS:
            if key in raw and key not in ("name", "resources", "seeds", "replicate"):
                checker.add((*path, key), f"`{key}` has no meaning in a sweep that replicates another")
    elif ("arms" in raw) == ("stages" in raw):
        checker.add(path, "a sweep needs either `arms` or `stages`")
    elif "stages" in raw:
        own = {key: raw[key] for key in ("stages", "search", "samples", "supervision") if key in raw}
        arms = _one(check_arm(checker, name, own, path, searcher, made))
    else:
        for key in ("search", "samples", "supervision"):
            if key in raw:
                checker.add((*path, key), f"`{key}` belongs into an arm when a sweep has `arms`")
        named = raw["arms"] if isinstance(raw["arms"], Mapping) else {}
        if not named:
            checker.add((*path, "arms"), "`arms` must map at least one name to an arm")
        arms = tuple(
            arm
            for arm_name, content in named.items()
            for arm in _one(check_arm(checker, arm_name, content, (*path, "arms", arm_name), searcher, made))
        )
    for arm in arms:
        others = [other.name for other in arms if other.name != arm.name]
        if arm.control is not None and arm.control not in others:
            message = f"the control of arm `{arm.name}` is {quoted(arm.control)}"
            hint = checker.nearest(arm.control, others)
            checker.add((*path, "arms", arm.name, "control"), message, hint)
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
        isinstance(s, int) and not isinstance(s, bool) and 0 <= s <= LARGEST_SEED for s in raw
    )
    if not good or len(set(raw)) < len(raw):
        expected = f"a list of different whole numbers from 0 to {LARGEST_SEED}"
        checker.add(path, f"`seeds` is {quoted(raw)}, but must be {expected}")
        return ()
    if len(raw) > MOST_SEEDS:
        checker.add(path, f"`seeds` lists {len(raw)} numbers, but may list {MOST_SEEDS}")
        return ()
    return tuple(raw)


def _metric(
    checker: Checker, raw: Mapping[str, Any], path: Path_, arms: Sequence[Arm], replicates: bool
) -> str | None:
    """Return what trials are ranked by: the score on `select` of the last stage that all arms have, unless
    the sweep names another score that is no report."""
    masks = checker.judge == "masks"

    def common(scores: Callable[[StageUse], Sequence[str]]) -> list[str]:
        found = [[f"{use.name}/{score}" for use in arm.stages for score in scores(use)] for arm in arms]
        return [name for name in (found[0] if found else []) if all(name in names for names in found)]

    def proxies(use: StageUse) -> Sequence[str]:
        ranks = STAGES[use.stage].ranks
        return [ranks] if ranks and (masks or checker.judge == "holdout") else []

    def true_scores(use: StageUse) -> Sequence[str]:
        return ("select/miou",) if masks and is_scored(use) else ()

    def other_scores(use: StageUse) -> Sequence[str]:
        ways = (scored_as(kind) for kind in kinds_made(use)) if masks else ()
        return MAP_SCORES if any(how is not None and how.files == "maps" for how in ways) else ()

    usual = common(true_scores if masks else proxies)
    metric = raw.get("metric")
    if metric is None or replicates:
        return usual[-1] if usual and not replicates else None
    choices = [*usual, *common(other_scores), *(common(proxies) if masks else [])]
    if isinstance(metric, str) and re.search(r"/(report|test|published)/", metric[:400]):
        hint = "a search may only look at `select`"
        checker.add((*path, "metric"), f"`metric` is {quoted(metric)}, which is for reporting", hint)
    elif metric not in choices and not masks:
        hint = checker.nearest("", choices) if choices else "leave it out: all trials are kept"
        message = f"`metric` is {quoted(metric)}, but without masks only hold-out mAP can be measured"
        checker.add((*path, "metric"), message, hint)
    elif metric not in choices:
        checker.add((*path, "metric"), f"`metric` is {quoted(metric)}", checker.nearest(metric, choices))
    return str(metric)
