"""Which trials go on: by the mean over seeds, arm by arm, and never an unfinished one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from wsss.pipeline.search.selection import kept_trials


def trials(**arms: int) -> list[Any]:
    """Return trials of `arms` (name → number of configurations) with two seeds each."""
    return [
        SimpleNamespace(
            info=SimpleNamespace(id=f"{arm}-{number}-s{seed}", arm=arm), configuration=f"{arm}-{number}"
        )
        for arm, count in arms.items()
        for number in range(count)
        for seed in (1, 2)
    ]


def sweep(keep: int = 1, metric: str | None = "miou", **own: int) -> Any:
    arms = [SimpleNamespace(name=name, keep=value) for name, value in own.items()]
    return SimpleNamespace(keep=keep, metric=metric, arms=arms or [SimpleNamespace(name="own", keep=None)])


def ids(kept: list[Any]) -> list[str]:
    return [trial.info.id for trial in kept]


def test_the_best_mean_wins_and_takes_all_its_seeds_along() -> None:
    scores = {"a-0-s1": 0.9, "a-0-s2": 0.1, "a-1-s1": 0.6, "a-1-s2": 0.6, "b-0-s1": 0.2, "b-0-s2": 0.2}
    metrics = {name: {"miou": value} for name, value in scores.items()}
    everything = trials(a=2, b=1)
    assert ids(kept_trials(sweep(), everything, metrics)) == ["a-1-s1", "a-1-s2", "b-0-s1", "b-0-s2"]
    assert len(kept_trials(sweep(keep=2), everything, metrics)) == 6
    assert ids(kept_trials(sweep(keep=2, a=1), everything, metrics))[:2] == ["a-1-s1", "a-1-s2"]
    assert kept_trials(sweep(metric=None), everything, metrics) == everything


def test_what_failed_or_was_not_scored_does_not_go_on() -> None:
    metrics = {"a-0-s1": {"miou": 0.3}, "a-1-s1": {"miou": 0.2}, "a-1-s2": {}}
    assert ids(kept_trials(sweep(), trials(a=2), metrics)) == ["a-0-s1"]
    assert kept_trials(sweep(), trials(a=2), {}) == []


def test_an_arm_of_a_later_sweep_is_found_under_its_joined_name() -> None:
    metrics = {trial.info.id: {"miou": 0.5} for trial in trials(**{"cam+crf": 3})}
    assert len(kept_trials(sweep(keep=1, crf=2), trials(**{"cam+crf": 3}), metrics)) == 4
