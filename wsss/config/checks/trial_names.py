"""Names of trials, which join those of sweeps and arms by dashes: two trials must not share one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from wsss.config.checks.checker import Checker
from wsss.config.study import Sweep
from wsss.errors import Problem

NUMBER = re.compile(r"\d{3,}")
SEED = re.compile(r"s\d+")
Part = str | re.Pattern[str]
"""What stands between two dashes: the same in all trials, or the number of a configuration, or a seed."""
Shape = tuple[Part, ...]
FROM_BASE: Sequence[Shape] = ((NUMBER,), (NUMBER, SEED))
"""What follows an arm of a base in names of its configurations and trials. There may be more numbers, but
then as many in every name of the study: no two names meet for that."""


def check_trial_names(checker: Checker, sweeps: Sequence[Sweep], base: Sequence[str] = ()) -> None:
    """Refuse sweeps and arms whose trials would have the same names; see `shared_names`."""
    for number, problem in shared_names(sweeps, base):
        checker.add(("sweeps", number), problem.message, problem.hint)


def shared_names(sweeps: Sequence[Sweep], base: Sequence[str] = ()) -> Iterator[tuple[int, Problem]]:
    """Yield the number of a sweep whose trials would have names of an earlier sweep's, and what to say, as
    for sweep `a`, arm `b-c` and sweep `a-b`, arm `c`. Within a sweep names differ as arms do.

    Args:
        sweeps: of a study.
        base: the arms of another study that the first sweep starts from.
    """
    shapes = _trials_of(sweeps, base)
    hint = "rename a sweep" if base else "rename a sweep or an arm"
    for number, later in enumerate(sweeps):
        for earlier in sweeps[:number]:
            names = (earlier.name, later.name)
            if not f"{names[0]}-".startswith(f"{names[1]}-") and not f"{names[1]}-".startswith(
                f"{names[0]}-"
            ):
                continue
            met = next(_meeting(shapes[earlier.name], shapes[later.name], names), None)
            if met is not None:
                first, second, example = met
                message = (
                    f"trials of arm `{second}` in sweep `{later.name}` and of arm `{first}` in sweep "
                    f"`{earlier.name}` would have the same names, such as {example}"
                )
                yield number, Problem(f"sweeps.{later.name}", message, hint)


def _trials_of(sweeps: Sequence[Sweep], base: Sequence[str]) -> dict[str, tuple[list[str], list[Shape]]]:
    """Return, for each sweep, the labels of its arms, and what follows them in names of configurations and of
    trials. The label of an arm has those of the sweeps before it, as `wsss.pipeline.search.arms` says."""
    found: dict[str, tuple[list[str], list[Shape]]] = {}
    before: tuple[list[str], list[Shape]] = (list(base), list(FROM_BASE))
    for sweep in sweeps:
        labels, shapes = before
        if sweep.replicate is not None:
            labels, shapes = found.get(sweep.replicate, before)
            before = (labels, [shapes[0], (*shapes[0], SEED)] if shapes else [])
        elif not labels:
            seeds: Shape = (NUMBER, SEED) if len(sweep.seeds) > 1 else (NUMBER,)
            before = ([arm.name for arm in sweep.arms], [(NUMBER,), seeds])
        else:
            onward = [
                label if arm.name == sweep.name else f"{label}+{arm.name}"
                for label in labels
                for arm in sweep.arms
            ]
            before = (onward, [(*shape, NUMBER) for shape in shapes])
        found[sweep.name] = before
    return found


def _meeting(
    earlier: tuple[list[str], list[Shape]], later: tuple[list[str], list[Shape]], names: tuple[str, str]
) -> Iterator[tuple[str, str, str]]:
    """Yield arms of two sweeps, and a name that a configuration or a trial of both would have."""
    by_length: dict[int, list[tuple[str, Shape]]] = {}
    for label, shape in _whole(earlier, names[0]):
        by_length.setdefault(len(shape), []).append((label, shape))
    for label, shape in _whole(later, names[1]):
        for other, whole in by_length.get(len(shape), []):
            parts = [_common(one, two) for one, two in zip(whole, shape, strict=True)]
            if None not in parts:
                yield other, label, "-".join(map(str, parts))


def _whole(trials: tuple[list[str], list[Shape]], sweep: str) -> Iterator[tuple[str, Shape]]:
    labels, shapes = trials
    for label in labels:
        for shape in dict.fromkeys(shapes):
            yield label, (*f"{sweep}-{label}".split("-"), *shape)


def _common(one: Part, other: Part) -> str | None:
    """Return a text that fits both parts; None where there is none."""
    if isinstance(one, str):
        fits = one == other if isinstance(other, str) else other.fullmatch(one)
        return one if fits else None
    if isinstance(other, str):
        return _common(other, one)
    return {NUMBER: "000", SEED: "s1"}[one] if one is other else None
