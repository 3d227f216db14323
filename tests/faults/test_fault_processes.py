"""Processes that are killed or told to stop: the study goes on where it was, by itself or by `resume`."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import in_process

Calm = Callable[[Path], Path]
pytestmark = pytest.mark.timeout(600)
LRS = (0.01, 0.05, 0.1)


@pytest.fixture
def study(faulty: Any, tmp_path: Path) -> Path:
    path = tmp_path / "toy.yaml"
    path.write_text(faulty.study_text(LRS))
    return path


def assert_as_calm(faulty: Any, storage: Path, calm: Path) -> None:
    assert faulty.records(storage) == faulty.records(calm)
    assert faulty.contents(storage) == faulty.contents(calm)
    assert faulty.tracked(storage) == faulty.tracked(calm), "no run is doubled, none is left open"


def epochs_of(faulty: Any, storage: Path, lr: float) -> list[int]:
    return [epoch for one, epoch, _ in faulty.made(storage) if one == lr]


def test_a_killed_worker_goes_on_from_its_newest_checkpoint(
    faulty: Any, storage: Path, study: Path, calm: Calm, nodes: Any, drive: Any
) -> None:
    expected = calm(study)
    faulty.slow(storage, 0.3)
    driver = drive("run", study, "--storage", storage, "--address", nodes.address)
    driver.wait_for(lambda: 3 in epochs_of(faulty, storage, LRS[0]))
    victim = next(pid for lr, _, pid in faulty.made(storage) if lr == LRS[0])
    os.kill(victim, signal.SIGKILL)
    assert driver.wait() == 0, driver.text[-3000:]
    made = [(epoch, pid) for lr, epoch, pid in faulty.made(storage) if lr == LRS[0]]
    assert {pid for _, pid in made} != {victim}, "another process went on"
    again = [epoch for epoch, pid in made if pid != victim]
    assert again[0] >= 3 and again[-1] == 6, "no epoch that had been saved was trained again"
    assert_as_calm(faulty, storage, expected)


def test_a_killed_driver_resumes_to_the_same_table(
    faulty: Any, storage: Path, study: Path, calm: Calm, drive: Any
) -> None:
    expected = calm(study)
    faulty.slow(storage, 0.2)
    driver = drive("run", study, "--storage", storage, "--local")
    driver.wait_for(lambda: 3 in epochs_of(faulty, storage, LRS[1]))
    driver.kill()
    assert driver.wait() == -signal.SIGKILL
    faulty.slow(storage, 0)
    done = in_process("resume", "toy", "--storage", storage, "--local")
    assert done.returncode == 0, done.stderr
    assert len(epochs_of(faulty, storage, LRS[0])) == 6 and len(epochs_of(faulty, storage, LRS[1])) <= 7
    assert_as_calm(faulty, storage, expected)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("where", ["local", pytest.param("ray", marks=pytest.mark.fault)])
def test_ctrl_c_and_sigterm_exit_with_130_and_resume(
    faulty: Any, storage: Path, study: Path, calm: Calm, drive: Any, number: int, where: str, request: Any
) -> None:
    place = ["--local"]
    if where == "ray":
        place = ["--address", request.getfixturevalue("nodes").address]
    expected = calm(study)
    faulty.slow(storage, 0.5)
    driver = drive("run", study, "--storage", storage, *place)
    driver.wait_for(lambda: "classifier  3/6" in driver.text)
    driver.kill(number)
    assert driver.wait(60) == 130, driver.text[-3000:]
    assert "Interrupted. Nothing finished is lost: `resume toy` goes on." in driver.text
    assert "Traceback" not in driver.text
    faulty.slow(storage, 0)
    done = in_process("resume", "toy", "--storage", storage, "--local")
    assert done.returncode == 0, done.stderr
    assert max(map(epochs_of(faulty, storage, LRS[0]).count, range(1, 7))) <= 2
    assert epochs_of(faulty, storage, LRS[0]).count(1) == 1, "went on from a checkpoint"
    assert_as_calm(faulty, storage, expected)


def kill_again_and_again(
    faulty: Any, storage: Path, study: Path, drive: Any, place: list[str], seed: int, times: int = 10
) -> int:
    """Run a study whose driver is killed at random moments; return how often it was before it ended."""
    rng = random.Random(seed)
    words: list[object] = ["run", study]
    for kill in range(times):
        driver = drive(*words, "--storage", storage, *place)
        # A moment between the first thing that happens and the last, counted in what the driver says.
        lines = rng.randrange(1, 40)
        beginning = lambda text: text.count("\n") - text.count("  ok    ")  # noqa: E731
        try:
            driver.wait_for(lambda: beginning(driver.text) >= lines)  # noqa: B023
        except AssertionError:
            if driver.process.poll() is None:
                raise
            assert driver.process.returncode == 0, driver.text[-3000:]
            return kill
        driver.kill()
        driver.wait()
        words = ["resume", "toy"] if (storage / "studies/toy/study.yaml").exists() else ["run", study]
    driver = drive(*words, "--storage", storage, *place)
    assert driver.wait() == 0, driver.text[-3000:]
    return times


@pytest.fixture(params=["local", "ray"])
def place(request: pytest.FixtureRequest) -> list[str]:
    if request.param == "local":
        return ["--local"]
    return ["--address", request.getfixturevalue("nodes").address]


@pytest.mark.fault
@pytest.mark.timeout(1800)
def test_a_driver_killed_at_ten_random_moments_ends_as_if_it_had_not_been(
    faulty: Any, storage: Path, tmp_path: Path, calm: Calm, place: list[str], drive: Any
) -> None:
    study = tmp_path / "toy.yaml"
    more = "search: {lr: {loguniform: [0.001, 1.0]}}, samples: 8"
    study.write_text(faulty.study_text((), epochs=12, more=more))
    expected = calm(study)
    faulty.heal(storage)
    faulty.slow(storage, 0.15)
    kills = kill_again_and_again(faulty, storage, study, drive, place, seed=1)
    assert kills == 10
    assert_as_calm(faulty, storage, expected)


@pytest.mark.fault
@pytest.mark.timeout(1800)
def test_a_search_killed_at_ten_random_moments_loses_and_doubles_nothing(
    faulty: Any, storage: Path, tmp_path: Path, place: list[str], drive: Any
) -> None:
    study = tmp_path / "toy.yaml"
    more = (
        "search: {lr: {loguniform: [0.001, 1.0]}}, samples: 12, searcher: {kind: optuna, startup: 4}, "
        "scheduler: {kind: asha, reduction: 2}"
    )
    study.write_text(faulty.study_text((), epochs=12, more=more))
    faulty.heal(storage)
    faulty.slow(storage, 0.1)
    ended: dict[str, tuple[Any, ...]] = {}

    def drive_and_look(*words: object) -> Any:
        now = {id: one[:7] for id, one in faulty.records(storage).items() if one[3] in ("done", "stopped")}
        assert {id: now.get(id) for id in ended} == ended, "what had ended once has ended for ever"
        ended.update(now)
        return drive(*words)

    assert kill_again_and_again(faulty, storage, study, drive_and_look, place, seed=2) >= 5
    records = faulty.records(storage)
    assert {id: records[id][:7] for id in ended} == ended
    assert len(records) == 12 and {one[3] for one in records.values()} == {"done", "stopped"}
    assert len({one[0]["lr"] for one in records.values()}) == 12, "no configuration was asked for twice"
    runs = [name for name, _, nested, *_ in faulty.tracked(storage) if nested]
    assert sorted(runs) == sorted(records), "each trial has one run"
    made = [(lr, epoch) for lr, epoch, _ in faulty.made(storage)]
    twice = len(made) - len(set(made))
    assert twice <= 10 * 2, "a kill costs each of two workers the epoch that it was in"
    before = faulty.tracked(storage)
    done = in_process("resume", "toy", "--storage", storage, "--local")
    assert done.returncode == 0 and "Nothing was computed" in done.stdout
    assert faulty.records(storage) == records and faulty.tracked(storage) == before
