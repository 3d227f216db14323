"""Filling a study in by a protocol: it sets the keys that the file leaves out, and reports keys that
contradict it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from wsss.config.checks.checker import Checker
from wsss.config.params.fairness import NamedProtocol, Protocol
from wsss.config.stage import STAGES
from wsss.config.text.yaml_text import Path_
from wsss.errors import quoted

_PROTOCOL: TypeAdapter[Protocol | None] = TypeAdapter(NamedProtocol)
CONFIGURATIONS, SHORT = 30, 10
SEARCHER = "random"
SEEDS = (1, 2, 3)
FINALISTS = "finalists"
HALVES = {"select": {"split": "train", "half": "a"}, "report": {"split": "train", "half": "b"}}
PROBE = "probe"
"""The method, and the arm, of a linear head on frozen features."""
PROBE_LR = {"loguniform": [0.003, 0.1]}
PROBE_KEYS = (
    "backbone",
    "weights",
    "epochs",
    "batch",
    "crop",
    "long_side",
    "color_jitter",
    "rung",
    "grad_clip",
    "amp",
)
"""Parameters that a probe takes over from the classifier beside it."""


def filled_in(checker: Checker, raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a study's content, filled in if it names a protocol that exists."""
    try:
        named = _PROTOCOL.validate_python(raw.get("protocol"))
    except ValidationError:
        return raw  # reported where the study is read
    return raw if named is None else filled(checker, raw, named)


def filled(checker: Checker, raw: Mapping[str, Any], protocol: Protocol) -> dict[str, Any]:
    """Return a study's content with the protocol's value for each key that the file leaves out.

    Equal tuning: a random search of 30 configurations of every arm (10 in the short form), chosen on one half
    and reported on the other; a linear probe beside the arms; the best of each arm again with three seeds.
    Filling in twice is the same as once.
    """
    study: dict[str, Any] = copy.deepcopy(dict(raw))
    data, sweeps = study.get("data"), study.get("sweeps")
    if isinstance(data, dict):
        for key, spec in HALVES.items():
            given = data.setdefault(key, dict(spec))
            if isinstance(given, Mapping) and "half" not in given and data["select"] == data.get("report"):
                checker.add(("data", key), f"`{key}` must be a half: what chooses may not be reported")
    if not isinstance(sweeps, list) or not sweeps or not isinstance(sweeps[0], dict):
        return study
    if study.get("base") is None:
        _fill_first(checker, sweeps[0], SHORT if protocol.short else CONFIGURATIONS)
    _refuse_unequal(checker, study, sweeps)
    names = [sweep.get("name") for sweep in sweeps if isinstance(sweep, dict)]
    if not any(isinstance(sweep, dict) and sweep.get("replicate") for sweep in sweeps) and names:
        last = sweeps[-1]
        again: dict[str, Any] = {"name": FINALISTS, "replicate": names[-1], "seeds": list(SEEDS)}
        if isinstance(last, dict) and "resources" in sweeps[0]:
            again["resources"] = copy.deepcopy(sweeps[0]["resources"])
        sweeps.append(again)
    return study


def _refuse_unequal(checker: Checker, study: Mapping[str, Any], sweeps: list[Any]) -> None:
    """Refuse what contradicts the protocol's name: unequal tuning, trials that are stopped, single seeds."""
    allow = study.get("allow")
    if isinstance(allow, list | dict) and any("unequal_tuning" in entry for entry in allow if entry):
        message = "`allow` names unequal_tuning, but the protocol is equal_tuning"
        checker.add(("allow",), message, "leave out one of them")
    for number, sweep in enumerate(sweeps):
        if not isinstance(sweep, dict):
            continue
        scheduler = sweep.get("scheduler")
        kind = scheduler.get("kind") if isinstance(scheduler, Mapping) else scheduler
        if kind not in (None, "fifo"):
            message = f"`scheduler` is {quoted(kind)}, but the protocol trains every configuration to its end"
            checker.add(("sweeps", number, "scheduler"), message, "leave it out")
        seeds = sweep.get("seeds")
        if sweep.get("replicate") and isinstance(seeds, list) and len(seeds) < len(SEEDS):
            message = f"`seeds` are {quoted(seeds)}, but the protocol repeats the best with {len(SEEDS)}"
            checker.add(("sweeps", number, "seeds"), message, f"such as {list(SEEDS)}")


def _fill_first(checker: Checker, sweep: dict[str, Any], count: int) -> None:
    at: Path_ = ("sweeps", 0)
    searcher = sweep.setdefault("searcher", SEARCHER)
    kind = searcher.get("kind") if isinstance(searcher, Mapping) else searcher
    if kind != SEARCHER:
        message = (
            f"`searcher` is {quoted(kind)}, but the protocol's is {SEARCHER}: trials must be independent"
        )
        checker.add((*at, "searcher"), message, "leave it out")
    arms = sweep.get("arms")
    if not isinstance(arms, dict):
        checker.add(at, "the protocol compares arms, but the first sweep has none", "give it `arms`")
        return
    _add_probe(arms)
    for name, arm in arms.items():
        if not isinstance(arm, dict):
            continue
        here = (*at, "arms", name)
        if not arm.get("search"):
            hint = "search its learning rate: `search: {lr: {loguniform: [0.003, 0.1]}}` and `lr: $lr`"
            checker.add(
                here, f"arm `{name}` has nothing to search, but the protocol tries {count} of each", hint
            )
        samples = arm.setdefault("samples", count)
        if samples != count:
            message = (
                f"`samples` of arm `{name}` is {quoted(samples)}, but the protocol tries {count} of each arm"
            )
            checker.add((*here, "samples"), message, "leave it out")
        if (stage := _learns_clusters(arm)) and not arm.get("control"):
            random = ", ".join(f"{key}: {value}" for key, value in STAGES[stage].control.items())
            hint = f"an arm with `{stage}: {{{random}}}`, named by `control`"
            checker.add(here, f"arm `{name}` learns clusters, but names no control to beat", hint)


def _uses(arm: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Iterate over the stages that an arm names, each with its parameters as written."""
    stages = arm.get("stages") if isinstance(arm, Mapping) else None
    for stage in stages if isinstance(stages, list) else ():
        for name in _names(stage):
            params = stage[name] if isinstance(stage, Mapping) else None
            yield name, params if isinstance(params, Mapping) else {}


def _names(stage: Any) -> list[Any]:
    """Return the names in an item of `stages`: one, unless it is wrong."""
    return list(stage) if isinstance(stage, Mapping) else [stage]


def _classifiers(arm: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the stages of an arm that can be a linear probe, with their parameters."""
    return [
        (name, params)
        for name, params in _uses(arm)
        if name in STAGES and PROBE in STAGES[name].words().get("method", ())
    ]


def _add_probe(arms: dict[str, Any]) -> None:
    """Add a linear head on frozen features, made as the first arm is, unless an arm is one."""
    last = [found[-1] for arm in arms.values() if (found := _classifiers(arm))]
    if not last or PROBE in arms or any(params.get("method") == PROBE for _, params in last):
        return
    first = next(arm for arm in arms.values() if _classifiers(arm))
    classifier, params = _classifiers(first)[-1]
    own = {key: params[key] for key in PROBE_KEYS if key in params and "$" not in str(params[key])}
    after = [stage for stage in first["stages"] if not _leads_to(stage, classifier)]
    if "$" in str(after):  # a later stage is searched; its variables would lack their arm
        return
    stages = [{classifier: {**own, "method": PROBE, "lr": "$lr"}}, *copy.deepcopy(after)]
    arms[PROBE] = {"search": {"lr": copy.deepcopy(PROBE_LR)}, "stages": stages}


def _learns_clusters(arm: Mapping[str, Any]) -> str:
    """Return the stage of an arm whose sub-categories were not dealt at random; empty without one."""
    found = ((name, params, STAGES[name].control) for name, params in _uses(arm) if name in STAGES)
    for name, params, control in found:
        if control:
            return "" if all(params.get(key) == value for key, value in control.items()) else name
    return ""


def _leads_to(stage: Any, classifier: str) -> bool:
    """Whether a stage, as an arm has it, makes a classifier or what one is made of."""
    kinds, todo = set[str](), [classifier]
    while todo:
        name = todo.pop()
        if name in STAGES and name not in kinds:
            kinds.add(name)
            todo += [*STAGES[name].may_make, *STAGES[name].needs]
    made = [kind for name in _names(stage) if name in STAGES for kind in STAGES[name].may_make or (name,)]
    return bool(made) and kinds.issuperset(made)
