"""Trials that fail by themselves: the others finish, the study says so, `resume` tries them again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import in_process

Calm = Callable[[Path], Path]
pytestmark = pytest.mark.timeout(300)


def errors(storage: Path) -> dict[float, str]:
    """Return learning rate → error of the trials that failed, as the ledger has them."""
    import toy_studies as toy

    found = toy.Ledger(storage / "studies/toy").trials().values()
    return {trial.params["lr"]: trial.error for trial in found if trial.status == "failed"}


def attempts(faulty: Any, storage: Path) -> dict[float, int]:
    """Return learning rate → how often the epoch in which a toy fails was begun."""
    second = [lr for lr, epoch, _ in faulty.made(storage) if epoch == 2]
    return {lr: second.count(lr) for lr in second}


def assert_failed_alone(faulty: Any, storage: Path, done: Any) -> None:
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    said = [line.removeprefix("Failed: ").partition(": ") for line in lines if line.startswith("Failed: ")]
    failed = [id for ids, _, _ in said for id in ids.split(", ")]
    assert sorted(failed) == [f"cam-cam-00{number}" for number in range(4)]
    assert "classifier, step 2: loss is nan; a smaller learning rate may help" in [why for _, _, why in said]
    assert "`resume toy` tries them again." in lines
    told = errors(storage)
    assert set(told) == {faulty.NAN, faulty.OWN, faulty.FOREIGN, faulty.POOL}
    assert told[faulty.NAN] == "classifier, step 2: loss is nan; a smaller learning rate may help"
    assert told[faulty.OWN] == "the toy broke"
    assert told[faulty.POOL] == "a worker process died, most likely for want of memory"
    assert "ZeroDivisionError: the toy divided by zero" in told[faulty.FOREIGN]
    assert "in _suffer" in told[faulty.FOREIGN], "a foreign error comes with its traceback"
    ended = {record[0]["lr"]: record[3] for record in faulty.records(storage).values()}
    assert ended[0.01] == ended[0.05] == "done"
    statuses = [status for _, status, nested, *_ in faulty.tracked(storage) if nested]
    assert sorted(statuses) == ["FAILED"] * 4 + ["FINISHED"] * 2


def study_file(faulty: Any, tmp_path: Path) -> Path:
    path = tmp_path / "toy.yaml"
    lrs = [faulty.NAN, faulty.OWN, faulty.FOREIGN, faulty.POOL, 0.01, 0.05]
    path.write_text(faulty.study_text(lrs, epochs=4))
    return path


def assert_healed(faulty: Any, storage: Path, expected: Path) -> None:
    assert faulty.records(storage) == faulty.records(expected)
    assert faulty.contents(storage) == faulty.contents(expected)
    assert faulty.tracked(storage) == faulty.tracked(expected)


def test_nan_and_errors_and_killed_pools_end_their_own_trials_alone(
    faulty: Any, storage: Path, tmp_path: Path, calm: Calm
) -> None:
    study = study_file(faulty, tmp_path)
    expected = calm(study)
    assert_failed_alone(faulty, storage, in_process("run", study, "--storage", storage, "--local"))
    assert set(attempts(faulty, storage).values()) == {1}, "nothing that would only fail again is retried"

    faulty.heal(storage)
    before = len(faulty.made(storage))
    done = in_process("resume", "toy", "--storage", storage, "--local")
    assert done.returncode == 0, done.stderr
    assert min(epoch for _, epoch, _ in faulty.made(storage)[before:]) == 2, "from the checkpoint before"
    assert_healed(faulty, storage, expected)


def test_a_trial_that_failed_in_its_last_stage_keeps_all_it_had_finished(
    faulty: Any, storage: Path, tmp_path: Path, calm: Calm
) -> None:
    """With files deleted after the sweep, as by default, and by `storage prune` too."""
    study = tmp_path / "toy.yaml"
    study.write_text(faulty.study_text([0.01, faulty.LAST, 0.05], epochs=4, retain="kept"))
    expected = calm(study)
    done = in_process("run", study, "--storage", storage, "--local")
    assert done.returncode == 1, done.stderr
    assert errors(storage) == {faulty.LAST: "a worker process died, most likely for want of memory"}
    assert in_process("storage", "prune", "--storage", storage).returncode == 0

    faulty.heal(storage)
    before = len(faulty.made(storage))
    done = in_process("resume", "toy", "--storage", storage, "--local")
    assert done.returncode == 0, done.stderr
    assert len(faulty.made(storage)) == before, "no epoch is trained again"
    assert_healed(faulty, storage, expected)


def test_on_ray_foreign_errors_are_tried_again_and_our_own_are_not(
    faulty: Any, storage: Path, tmp_path: Path, calm: Calm, nodes: Any
) -> None:
    study = study_file(faulty, tmp_path)
    expected = calm(study)
    done = in_process("run", study, "--storage", storage, "--address", nodes.address)
    assert_failed_alone(faulty, storage, done)
    tried = attempts(faulty, storage)
    assert tried[faulty.NAN] == tried[faulty.OWN] == tried[faulty.POOL] == 1
    assert tried[faulty.FOREIGN] == 4, "once, and three retries"

    faulty.heal(storage)
    done = in_process("resume", "toy", "--storage", storage, "--address", nodes.address)
    assert done.returncode == 0, done.stderr
    assert_healed(faulty, storage, expected)
