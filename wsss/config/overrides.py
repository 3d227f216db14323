"""`-s sweeps.cam.fmix.classifier.epochs=1`: changing a study file's values from the command line."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from wsss.addresses import refusal
from wsss.config.yaml_text import Document, Path_, parse_value
from wsss.errors import ConfigError, Problem, nearest

GROUPS = ("resources", "searcher", "scheduler", "stop_below")
"""Keys of a sweep or an arm that hold keys."""

ADDRESSES = ("storage", "tracking.uri")
"""Keys whose values are addresses, with or without a scheme."""


def apply_overrides(document: Document, overrides: Sequence[str]) -> tuple[Document, dict[Path_, str]]:
    """Return the document with the overrides applied, and the path → text of each.

    Sweeps, arms and stages are addressed by name; `*` stands for all arms, in a sweep's place for all
    sweeps that have the rest of the address. `sweeps.*.resources.gpu` changes the sweeps that hold a
    GPU, or all of them when none does. Raises `ConfigError` with every address that leads nowhere.
    """
    value = copy.deepcopy(document.value)
    overridden: dict[Path_, str] = {}
    problems: list[Problem] = []
    for text in overrides:
        address, equals, content = text.partition("=")
        if not equals or not address:
            problems.append(Problem(f"-s {text}", "must read KEY=VALUE, as in seed=1"))
            continue
        if ("://" in content or address in ADDRESSES) and (refused := refusal(content)):
            problems.append(Problem(f"-s {address}", *refused))
            continue
        try:
            for path in _set(value, address.split("."), parse_value(content), f"-s {text}"):
                overridden[path] = text
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigError(problems)
    return Document(document.source, value, document.lines), overridden


def _set(root: Any, words: list[str], value: Any, where: str) -> list[Path_]:
    if words[0] != "sweeps" or len(words) == 1:
        return [_assign(root, (), words, value, where)]
    sweeps = root.get("sweeps") if isinstance(root, Mapping) else None
    names = [str(sweep.get("name")) for sweep in sweeps or [] if isinstance(sweep, Mapping)]
    if words[1] == "*" and len(words) > 2 and sweeps:
        return _set_in_every_sweep(sweeps, words[2:], value, where)
    if len(words) < 3 or words[1] not in names:
        raise ConfigError(Problem(where, f"no sweep is named {words[1]!r}", nearest(words[1], names)))
    number = names.index(words[1])
    assert sweeps is not None
    return _set_in_sweep(sweeps[number], ("sweeps", number), words[2:], value, where)


def _set_in_every_sweep(sweeps: Any, words: list[str], value: Any, where: str) -> list[Path_]:
    chosen = [number for number, sweep in enumerate(sweeps) if isinstance(sweep, dict)]
    if words[0] not in ("resources", "seeds"):
        chosen = [n for n in chosen if not sweeps[n].get("replicate")]  # nothing else can be said there
    if words == ["resources", "gpu"]:
        # Sweeps of CPU work shall not come to hold a GPU because all that need one get less of it.
        holding = [n for n in chosen if (sweeps[n].get("resources") or {}).get("gpu")]
        chosen = holding or chosen
    found: list[Path_] = []
    problems: list[Problem] = []
    for number in chosen:
        try:
            found += _set_in_sweep(sweeps[number], ("sweeps", number), words, value, where)
        except ConfigError as error:
            problems += error.problems
    if not found:
        raise ConfigError(dict.fromkeys(problems))
    return found


def _set_in_sweep(sweep: Any, path: Path_, words: list[str], value: Any, where: str) -> list[Path_]:
    arms = sweep.get("arms")
    if not isinstance(arms, Mapping):
        if words[0] == "*" and len(words) > 1:
            words = words[1:]  # its stages are those of its only arm
        return [_set_in_arm(sweep, path, words, value, where)]
    if words[0] == "arms" and len(words) > 1:
        words = words[1:]
    chosen = list(arms) if words[0] == "*" else [words[0]] if words[0] in arms else []
    if chosen and len(words) > 1:
        return [
            _set_in_arm(arms[name], (*path, "arms", name), words[1:], value, where, every=words[0] == "*")
            for name in chosen
        ]
    if len(words) > 1 and words[0] not in GROUPS:
        raise ConfigError(Problem(where, f"no arm is named {words[0]!r}", nearest(words[0], list(arms))))
    return [_assign(sweep, path, words, value, where)]


def _set_in_arm(
    arm: Any, path: Path_, words: list[str], value: Any, where: str, *, every: bool = False
) -> Path_:
    stages = arm.get("stages") if isinstance(arm, dict) else None
    labels = []
    for number, entry in enumerate(stages if isinstance(stages, list) else []):
        if isinstance(entry, str):
            entry = stages[number] = {entry: {}}  # type: ignore[index]
        stage = next(iter(entry), "") if isinstance(entry, dict) else ""
        if stage and entry[stage] is None:
            entry[stage] = {}
        labels.append((entry[stage].get("as", stage) if stage else "", number, stage))
    for label, number, stage in labels:
        if label == words[0] and len(words) > 1:
            return _assign(stages[number][stage], (*path, "stages", number, stage), words[1:], value, where)  # type: ignore[index]
    if len(words) > 1 and words[0] not in ("search", *GROUPS):
        known = [label for label, _, _ in labels]
        raise ConfigError(Problem(where, f"no stage is named {words[0]!r} there", nearest(words[0], known)))
    return _assign(arm, path, words, value, where)


def _assign(parent: Any, path: Path_, words: list[str], value: Any, where: str) -> Path_:
    for word in words[:-1]:
        if not isinstance(parent, dict):
            raise ConfigError(Problem(where, f"`{'.'.join(map(str, path))}` holds no keys"))
        if parent.get(word) is None:
            parent[word] = {}
        parent, path = parent[word], (*path, word)
    if not isinstance(parent, dict):
        raise ConfigError(Problem(where, f"`{'.'.join(map(str, path))}` holds no keys"))
    parent[words[-1]] = value
    return (*path, words[-1])
