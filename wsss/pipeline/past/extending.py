"""What may change in a study that keeps its name: only additions, so that the storage still has its
results."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

Raw = dict[str, Any]
MAY_CHANGE = ("storage", "tracking", "budget", "allow", "protocol")
"""Keys of a study that change nothing of what it finds."""
OF_AN_ARM = ("control", "supervision")
"""Keys of an arm that say how its results are read, and change none of them."""


def overlook_more(old: Raw, new: Raw) -> None:
    """Change a stored study to the new one, wherever the new one only adds to it.

    More seeds (the old ones among them), more samples of a random search or one that learns, more arms, more
    kept, further sweeps at the end. What is left of a difference contradicts what was run.

    Args:
        old: the stored study as a file has it.
        new: the study as it is asked for.
    """
    for raw in (old, new):
        for key in MAY_CHANGE:
            raw.pop(key, None)
    sweeps, asked = old.get("sweeps", []), new.get("sweeps", [])
    for number, (sweep, other) in enumerate(zip(sweeps, asked, strict=False)):
        if sweep.get("name") == other.get("name"):
            _overlook_in_sweep(sweep, other, int(new.get("seed", 0)), first=number == 0)
    if len(asked) > len(sweeps) and sweeps == asked[: len(sweeps)]:
        old["sweeps"] = copy.deepcopy(asked)
    _order_as(old, new)


def _order_as(old: Any, new: Any) -> None:
    """Put the keys of a mapping, and of all in it, into the order of another: a difference in order is
    none."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*new, *(key for key in old if key not in new)]:
            if key in old:
                old[key] = old.pop(key)
                _order_as(old[key], new.get(key))
    elif isinstance(old, list) and isinstance(new, list):
        for one, other in zip(old, new, strict=False):
            _order_as(one, other)


def _overlook_in_sweep(old: Raw, new: Raw, seed: int, *, first: bool) -> None:
    pbt = _kind(new.get("scheduler")) == "pbt"
    _overlook_seeds(old, new, seed, first=first)
    _overlook_larger(old, new, "keep", 1)
    arms, asked = old.get("arms"), new.get("arms")
    if isinstance(arms, dict) and isinstance(asked, dict):
        for name, arm in arms.items():
            if name in asked:
                _overlook_in_arm(arm, asked[name], new, pbt=pbt)
        if set(arms) <= set(asked):
            old["arms"] = {name: arms.get(name, copy.deepcopy(arm)) for name, arm in asked.items()}
    else:
        _overlook_in_arm(old, new, new, pbt=pbt)


def _overlook_in_arm(old: Raw, new: Raw, sweep: Mapping[str, Any], *, pbt: bool) -> None:
    if not pbt and old.get("samples") is not None and _kind(sweep.get("searcher")) != "grid":
        _overlook_larger(old, new, "samples", None)
    _overlook_larger(old, new, "keep", None)
    for key in OF_AN_ARM:
        old.pop(key, None)
        if key in new:
            old[key] = copy.deepcopy(new[key])


def _overlook_larger(old: Raw, new: Raw, key: str, default: int | None) -> None:
    before, now = old.get(key, default), new.get(key, default)
    if isinstance(before, int) and isinstance(now, int) and now > before:
        old[key] = now


def _overlook_seeds(old: Raw, new: Raw, seed: int, *, first: bool) -> None:
    """Without `seeds` a first sweep runs once, with the study's own."""
    if not first and not new.get("replicate"):
        return
    before, now = old.get("seeds") or [seed], new.get("seeds") or [seed]
    if set(before) <= set(now):
        if "seeds" in new:
            old["seeds"] = list(now)
        else:
            old.pop("seeds", None)


def _kind(raw: Any) -> Any:
    return raw.get("kind") if isinstance(raw, Mapping) else raw
