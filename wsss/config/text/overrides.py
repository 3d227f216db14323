"""`-s sweeps.cam.fmix.classifier.epochs=1`: changing a study file's values from the command line."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from wsss.addresses import refusal
from wsss.config.text.yaml_text import Document, Path_, parse_value
from wsss.errors import ConfigError, Problem, nearest, quoted, shortened

GROUPS = ("resources", "searcher", "scheduler", "stop_below")
"""Keys of a sweep or an arm that hold keys."""
MOST_WORDS = 16
"""Words of an address; the longest that leads anywhere has about eight."""

ADDRESSES = ("storage", "tracking.uri")
"""Keys whose values are addresses, with or without a scheme."""


def apply_overrides(
    document: Document, overrides: Sequence[str], direct: Mapping[str, str | None] = MappingProxyType({})
) -> tuple[Document, dict[Path_, str]]:
    """Return the document with the overrides applied, and the path of each → how to name it.

    Sweeps, arms and stages are addressed by name; `*` stands for all arms, in a sweep's place for all
    sweeps that have the rest of the address. `sweeps.*.resources.gpu` changes the sweeps that hold a
    GPU, or all of them when none does. Raises `ConfigError` with every address that leads nowhere.

    Args:
        document: the study file, as parsed; it stays as it is.
        overrides: texts of the form "address=value", the value in YAML.
        direct: keys of the study → words that are taken as they are; None leaves a key alone.
    """
    value = copy.deepcopy(document.value)
    overridden: dict[Path_, str] = {}
    problems: list[Problem] = []
    for text in overrides:
        address, equals, content = text.partition("=")
        where = f"-s {shortened(text, 200)}"
        words = address.split(".", MOST_WORDS)
        if not equals or not address:
            problems.append(Problem(where, "must read KEY=VALUE, as in seed=1"))
        elif len(words) > MOST_WORDS:
            problems.append(Problem(where, f"the address has more than {MOST_WORDS} words"))
        elif ("://" in content or address in ADDRESSES) and (refused := refusal(content)):
            problems.append(Problem(f"-s {shortened(address, 200)}", *refused))
        else:
            try:
                for path in _set(value, words, parse_value(content), where):
                    overridden[path] = where
            except ConfigError as error:
                problems.extend(error.problems)
    for key, given in direct.items():
        if given is not None and isinstance(value, dict):
            value[key] = given
            overridden[key,] = f"--{key} {shortened(given, 200)}"
    if problems:
        raise ConfigError(problems)
    return Document(document.source, value, document.lines), overridden


def _set(root: Any, words: list[str], value: Any, where: str) -> list[Path_]:
    if words[0] != "sweeps" or len(words) == 1:
        return [_assign(root, (), words, value, where)]
    listed = root.get("sweeps") if isinstance(root, dict) else None
    sweeps = {n: s for n, s in enumerate(listed if isinstance(listed, list) else []) if isinstance(s, dict)}
    if words[1] == "*" and len(words) > 2 and sweeps:
        return _set_in_every_sweep(sweeps, words[2:], value, where)
    numbers = {name: n for n, s in reversed(sweeps.items()) if isinstance(name := s.get("name"), str)}
    if len(words) < 3 and words[1] in numbers:
        hint = f"name one of its keys, as in sweeps.{words[1]}.keep=1"
        raise ConfigError(Problem(where, "a sweep can't be put in another's place", hint))
    if words[1] not in numbers:
        hint = nearest(words[1], reversed(numbers))
        raise ConfigError(Problem(where, f"no sweep is named {quoted(words[1])}", hint))
    number = numbers[words[1]]
    return _set_in_sweep(sweeps[number], ("sweeps", number), words[2:], value, where)


def _set_in_every_sweep(
    sweeps: Mapping[int, dict[str, Any]], words: list[str], value: Any, where: str
) -> list[Path_]:
    chosen = list(sweeps)
    if words[0] not in ("resources", "seeds"):
        chosen = [n for n in chosen if not sweeps[n].get("replicate")]  # nothing else can be said there
    if words == ["resources", "gpu"]:
        # The override changes the sweeps that hold a GPU; those of CPU work go on without one.
        held = {n: sweeps[n].get("resources") for n in chosen}
        holding = [n for n, resources in held.items() if isinstance(resources, dict) and resources.get("gpu")]
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


def _set_in_sweep(
    sweep: dict[str, Any], path: Path_, words: list[str], value: Any, where: str
) -> list[Path_]:
    arms = sweep.get("arms")
    if not isinstance(arms, Mapping):
        if words[0] == "*" and len(words) > 1:
            words = words[1:]  # its stages are those of its only arm
        return [_set_in_arm(sweep, path, words, value, where)]
    if words[0] == "arms" and len(words) > 1:
        words = words[1:]
    chosen = list(arms) if words[0] == "*" else [words[0]] if words[0] in arms else []
    if chosen and len(words) > 1:
        return [_set_in_arm(arms[name], (*path, "arms", name), words[1:], value, where) for name in chosen]
    if len(words) > 1 and words[0] not in GROUPS:
        raise ConfigError(Problem(where, f"no arm is named {quoted(words[0])}", nearest(words[0], arms)))
    return [_assign(sweep, path, words, value, where)]


def _set_in_arm(arm: Any, path: Path_, words: list[str], value: Any, where: str) -> Path_:
    stages = arm.get("stages") if isinstance(arm, dict) else None
    stages = stages if isinstance(stages, list) else []
    known: dict[str, tuple[int, str]] = {}
    for number, entry in enumerate(stages):
        if isinstance(entry, str):
            entry = stages[number] = {entry: {}}
        stage = next(iter(entry), "") if isinstance(entry, dict) else ""
        if stage and entry[stage] is None:
            entry[stage] = {}
        own = entry[stage].get("as") if stage and isinstance(entry[stage], dict) else None
        label = own if isinstance(own, str) else stage
        if label:
            known.setdefault(label, (number, stage))
    if words[0] in known and len(words) > 1:
        number, stage = known[words[0]]
        return _assign(stages[number][stage], (*path, "stages", number, stage), words[1:], value, where)
    if len(words) > 1 and words[0] not in ("search", *GROUPS):
        message = f"no stage is named {quoted(words[0])} there"
        raise ConfigError(Problem(where, message, nearest(words[0], known)))
    return _assign(arm, path, words, value, where)


def _assign(parent: Any, path: Path_, words: list[str], value: Any, where: str) -> Path_:
    for word in words[:-1]:
        if not isinstance(parent, dict):
            raise ConfigError(Problem(where, f"`{'.'.join(map(str, path))}` holds no keys"))
        if parent.get(word) is None:
            parent[word] = {}
        parent, path = parent[word], (*path, word)
    if not isinstance(parent, dict):
        raise ConfigError(Problem(where, f"`{'.'.join(map(str, path)) or 'the study'}` holds no keys"))
    parent[words[-1]] = value
    return (*path, words[-1])
