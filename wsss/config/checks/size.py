"""Limits on the number of trials, before any is drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from wsss.config.checks.checker import Checker
from wsss.config.search import Distribution
from wsss.config.study import MOST_TRIALS, Arm, Sweep
from wsss.config.text.yaml_text import Path_
from wsss.config.tuning import Pbt, Searcher

MOST_PARTS = 1000
"""Parts of a classifier in population-based training."""


def configurations(search: Mapping[str, Distribution], samples: int | None, searcher: str) -> int:
    """Return how many configurations an arm has, without drawing any.

    Args:
        search: the arm's search variables.
        samples: how many the arm asks for; None for the whole product.
        searcher: the sweep's, by name.
    """
    if not search:
        return 1
    if searcher != "grid" and samples is not None:
        return samples
    whole = math.prod(values.size for values in search.values())
    return min(whole, samples or whole)


def check_arm_size(
    checker: Checker, searcher: str, search: Mapping[str, Distribution], samples: int | None, path: Path_
) -> None:
    """Refuse a grid with more configurations than a study has trials.

    Args:
        checker: takes the problem.
        searcher: the sweep's, by name.
        search: the arm's search variables.
        samples: how many the arm asks for; None for the whole product.
        path: where the arm's `search` stands.
    """
    number = configurations(search, samples, searcher)
    if number > MOST_TRIALS and all(values.countable for values in search.values()):
        message = (
            f"the grid has {_spelt(number)} configurations, but a study has at most {MOST_TRIALS:,} trials"
        )
        checker.add(path, message, "say how many to try: `samples: 20`")


def check_parts(checker: Checker, pbt: Pbt, epochs: int, path: Path_) -> None:
    """Refuse a population whose classifiers would be made in too many parts.

    Args:
        checker: takes the problem.
        pbt: the scheduler.
        epochs: of the classifiers.
        path: where the scheduler stands.
    """
    parts = math.ceil(epochs / pbt.interval)
    if parts > MOST_PARTS:
        message = f"{epochs} epochs in parts of {pbt.interval} are {parts} artefacts, but may be {MOST_PARTS}"
        checker.add(path, message, "make `interval` larger")


def check_trials(checker: Checker, sweeps: Sequence[Sweep]) -> None:
    """Refuse a study of more than `MOST_TRIALS` trials, counting as if each arm kept all it may keep."""
    kept: dict[str, list[int]] = {}
    before: tuple[list[int], int] = ([1], 1)
    total = 0
    for number, sweep in enumerate(sweeps):
        if sweep.replicate is not None:
            before = (kept.get(str(sweep.replicate), [1]), len(sweep.seeds))
            total += sum(before[0]) * before[1]
        else:
            seeds = max(before[1], len(sweep.seeds))
            counts = [_in_arm(arm, sweep.searcher, upstream) for upstream in before[0] for arm in sweep.arms]
            total += sum(counts) * seeds
            keeps = [arm.keep or sweep.keep for _ in before[0] for arm in sweep.arms]
            before = ([min(pair) for pair in zip(keeps, counts, strict=True)], seeds)
        kept[sweep.name] = before[0]
        if total > MOST_TRIALS:
            message = f"the study has {_spelt(total)} trials up to here, but may have {MOST_TRIALS:,}"
            hint = "fewer `samples`, `seeds`, arms, or a smaller `keep`"
            checker.add(("sweeps", number), message, hint)
            return


def _in_arm(arm: Arm, searcher: Searcher, upstream: int) -> int:
    return upstream * configurations(arm.search, arm.samples, searcher.kind)


def _spelt(number: int) -> str:
    return f"{number:,}" if number < 10**15 else f"more than 10^{len(str(number)) - 1}"
