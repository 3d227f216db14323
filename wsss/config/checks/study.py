"""From a parsed study file to a `Study`, or to all of its problems at once."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsss.addresses import refusal
from wsss.config.checks.arms import check_arm
from wsss.config.checks.checker import STAND_INS, Checker, keys_of
from wsss.config.checks.data import check_folder, check_splits, check_supervision, check_test
from wsss.config.checks.fairness import check_declared, check_fairness
from wsss.config.checks.programs import check_programs
from wsss.config.checks.protocol import filled_in
from wsss.config.checks.size import check_trials
from wsss.config.checks.trial_names import check_trial_names
from wsss.config.checks.tuning import check_rules, check_scheduler, check_searcher
from wsss.config.data_set import DataSpec
from wsss.config.naming import SELECT_MIOU, is_reported, study_name_problem
from wsss.config.resolve import is_ranked, kinds_made
from wsss.config.stage import STAGES, scored_as
from wsss.config.study import Arm, StageUse, Study, Sweep
from wsss.config.text.overrides import ADDRESSES
from wsss.config.text.yaml_text import Document, Path_
from wsss.errors import ConfigError, quoted

MAP_SCORES = ("select/area", "select/pxap")
"""Scores of maps that no threshold enters."""
WITH_REPLICATE = {"name", "resources", "seeds", "replicate"}
"""Keys of a sweep that replicates another."""


def check_study(
    document: Document,
    base: Path,
    *,
    name: str,
    storage: Path,
    overridden: Mapping[Path_, str] | None = None,
    known: bool = False,
) -> Study:
    """Return the study that a document describes. Raises `ConfigError` with every problem found.

    Args:
        document: the study file, as parsed.
        base: the folder that relative paths refer to.
        name: the study's where the file has none.
        storage: the study's where the file has none.
        overridden: places whose values come from the command line, and what messages call them.
        known: whether a storage has it under its name already, which an earlier version may have allowed.
    """
    checker = Checker(document, overridden)
    _refuse_secrets(checker, document.value, ())
    raw = document.value
    if isinstance(raw, Mapping):
        own = raw.get("storage")
        raw = {"name": name, **raw, "storage": storage if own is None or own == "" else own}
        raw = filled_in(checker, raw)
    study = checker.read(Study, raw, base)
    if study is not None:
        study = _checked(checker, study, base, known=known)
    if checker.problems or study is None:
        raise ConfigError(checker.problems, more=checker.more)
    return study


def _checked(checker: Checker, study: Study, base: Path, *, known: bool) -> Study:
    """Check keys against each other; return the study with its paths and defaults resolved."""
    if not known and not checker.is_left_out(("name",)) and (problem := study_name_problem(study.name)):
        checker.add(("name",), problem, "give it another with --name NAME")
    check_splits(checker, study.data)
    data = _resolved(checker, study.data, base)
    check_folder(checker, data)
    sweeps = _sweeps(checker, study)
    check_supervision(checker, data, sweeps)
    check_test(checker, data, sweeps)
    check_programs(checker, sweeps, based=study.base is not None)
    check_trials(checker, sweeps)
    if not known and not checker.problems:
        # Which arms a base has kept is in the storage, unless the file names them: `upstream_of` looks again.
        arms = () if study.base is None else study.base.arms
        if arms is not None:
            check_trial_names(checker, sweeps, arms)
        check_fairness(checker, study.allow, sweeps)
        check_declared(checker, sweeps)
    return study.model_copy(update={"data": data, "sweeps": tuple(sweeps)})


def _resolved(checker: Checker, data: DataSpec, base: Path) -> DataSpec:
    try:
        return data.resolved(base)
    except ValueError as error:
        key, _, message = str(error).partition("|")
        checker.add(("data", key), f"`data.{key}` {message}")
        return data


def _refuse_secrets(checker: Checker, value: Any, path: Path_) -> None:
    """Refuse every address that holds a secret, wherever it stands: resolved studies are written to the
    storage."""
    if isinstance(value, Mapping):
        for key, content in value.items():
            _refuse_secrets(checker, content, (*path, key))
    elif isinstance(value, list):
        for number, content in enumerate(value):
            _refuse_secrets(checker, content, (*path, number))
    elif not isinstance(value, str):
        return
    elif refused := refusal(value) if _may_be_address(value, path) else None:
        checker.add(path, f"`{path[-1] if path else 'study'}` {refused[0]}", refused[1])


def _may_be_address(value: str, path: Path_) -> bool:
    """Whether a value is an address, a slip of the pen in one (`https:/NAME:KEY@host`), or stands for one."""
    text = unicodedata.normalize("NFKC", value)
    return "://" in text or (":" in text and "@" in text) or ".".join(map(str, path)) in ADDRESSES


def _sweeps(checker: Checker, study: Study) -> list[Sweep]:
    if not study.sweeps and not checker.is_left_out(("sweeps",)):
        checker.add(("sweeps",), "`sweeps` must be a list with at least one sweep")
    based = study.base is not None or checker.is_left_out(("base",))
    sweeps: list[Sweep] = []
    # The artefacts of a base are unknown until it is opened: it may have made anything.
    made: set[str] = set(STAGES.names()) if based else set()
    for number, sweep in enumerate(study.sweeps):
        path: Path_ = ("sweeps", number)
        if not checker.is_left_out((*path, "name")) and sweep.name in [other.name for other in sweeps]:
            checker.add((*path, "name"), f"two sweeps are named {quoted(sweep.name)}")
        sweeps.append(_sweep(checker, sweep, path, sweeps, made, based=based))
        made |= {kind for arm in sweep.arms for use in arm.stages for kind in kinds_made(use)}
    return sweeps


def _sweep(
    checker: Checker, sweep: Sweep, path: Path_, earlier: Sequence[Sweep], made: set[str], *, based: bool
) -> Sweep:
    """Check a sweep; return it with its metric and its rules."""
    said = {"arms" if key == "alternatives" else key for key in sweep.model_fields_set}
    said |= {key for key in ("arms", "stages", "seeds") if checker.is_left_out((*path, key))}
    if checker.is_left_out((*path, "replicate")):
        return sweep
    if sweep.replicate is not None:
        names = [other.name for other in earlier if other.name != STAND_INS["name"]]
        if sweep.replicate not in names:
            message = f"no earlier sweep is named {quoted(sweep.replicate)}"
            checker.add((*path, "replicate"), message, checker.nearest(sweep.replicate, names))
        if not sweep.seeds and not checker.is_left_out((*path, "seeds")):
            checker.add((*path, "replicate"), "a replicating sweep needs `seeds`")
        for key in [key for key in keys_of(Sweep) if key in said - WITH_REPLICATE]:
            checker.add((*path, key), f"`{key}` has no meaning in a sweep that replicates another")
        return sweep.model_copy(update={"metric": None})
    if ("arms" in said) == ("stages" in said):
        checker.add(path, "a sweep needs either `arms` or `stages`")
    elif "arms" in said:
        for key in [key for key in ("search", "samples", "supervision") if key in said]:
            checker.add((*path, key), f"`{key}` belongs into an arm when a sweep has `arms`")
    others = {arm.name for arm in sweep.arms}
    for arm in sweep.arms:
        at = (*path, *sweep.place(arm))
        check_arm(checker, arm, at, sweep.searcher, made)
        if arm.control is not None and arm.control not in others - {arm.name}:
            message = f"the control of arm `{arm.name}` is {quoted(arm.control)}"
            checker.add((*at, "control"), message, checker.nearest(arm.control, others - {arm.name}))
    if sweep.seeds and (earlier or based):
        where = "one with `replicate`" if based else "the first sweep or one with `replicate`"
        checker.add((*path, "seeds"), f"`seeds` belongs into {where}")

    def with_rules(arm: Arm) -> Arm:
        at = (*path, *sweep.place(arm), "stop_below")
        rules = arm.stop_below and check_rules(checker, arm.stop_below, [arm], at)
        return arm.model_copy(update={"stop_below": rules})

    rules = check_rules(checker, sweep.stop_below, sweep.arms, (*path, "stop_below"))
    update = {"metric": _metric(checker, sweep, path), "stop_below": rules}
    sweep = sweep.map_arms(with_rules).model_copy(update=update)
    check_searcher(checker, sweep, path)
    check_scheduler(checker, sweep, path, first=not earlier and not based)
    return sweep


def _metric(checker: Checker, sweep: Sweep, path: Path_) -> str | None:
    """Return the metric that a sweep's trials are ranked by: the score on `select` of the last stage that all
    arms have, unless the sweep names another score, which must not be a reported one; None without any."""
    masks = checker.judge == "masks"

    def common(scores: Callable[[StageUse], Sequence[str]]) -> list[str]:
        found = [[f"{use.name}/{score}" for use in arm.stages for score in scores(use)] for arm in sweep.arms]
        return [name for name in (found[0] if found else []) if all(name in names for names in found)]

    def proxies(use: StageUse) -> Sequence[str]:
        ranks = STAGES[use.stage].ranks
        return [ranks] if ranks and (masks or checker.judge == "holdout") else []

    def true_scores(use: StageUse) -> Sequence[str]:
        return (SELECT_MIOU,) if masks and is_ranked(use) else ()

    def other_scores(use: StageUse) -> Sequence[str]:
        ways = (scored_as(kind) for kind in kinds_made(use)) if masks else ()
        return MAP_SCORES if any(how is not None and how.files == "maps" for how in ways) else ()

    if sweep.replicate is not None:
        return None
    usual = common(true_scores if masks else proxies)
    metric = sweep.metric
    if metric is None:
        return usual[-1] if usual else None
    choices = [*usual, *common(other_scores), *(common(proxies) if masks else [])]
    if is_reported(metric):
        hint = "a search may only look at `select`"
        checker.add((*path, "metric"), f"`metric` is {quoted(metric)}, which is for reporting", hint)
    elif metric not in choices and not masks:
        hint = checker.nearest("", choices) if choices else "leave it out: all trials are kept"
        message = f"`metric` is {quoted(metric)}, but without masks only hold-out mAP can be measured"
        checker.add((*path, "metric"), message, hint)
    elif metric not in choices:
        checker.add((*path, "metric"), f"`metric` is {quoted(metric)}", checker.nearest(metric, choices))
    return metric
