"""Storages that are full, read-only, or hold what something else has cut, flipped or overwritten."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import in_process

Calm = Callable[[Path], Path]
LRS = (0.01, 0.05, 0.1)


@pytest.fixture
def study(faulty: Any, tmp_path: Path) -> Path:
    path = tmp_path / "toy.yaml"
    path.write_text(faulty.study_text(LRS))
    return path


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, of 1100 MiB (a study wants 1 GiB to be free before it starts)."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1100m", "tmpfs", str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip(f"this machine mounts no tmpfs: {mounted.stderr.strip()}")
    yield folder
    while folder.is_mount():
        subprocess.run(["umount", "-l", str(folder)], check=True)


def run(*words: object) -> Any:
    return in_process(*words, "--local")


def assert_as_calm(faulty: Any, storage: Path, calm: Path) -> None:
    assert faulty.records(storage) == faulty.records(calm)
    assert faulty.contents(storage) == faulty.contents(calm)
    assert faulty.tracked(storage) == faulty.tracked(calm)


class During:
    """Does something once, when a classifier begins its third epoch."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, faulty: Any, lr: float, action: Callable[[], None]):
        step, self.done = faulty.Classifier.step, False

        def disturbed(stage: Any) -> Any:
            if not self.done and stage.params.lr == lr and stage.epoch == 2:
                self.done = True
                action()
            return step(stage)

        monkeypatch.setattr(faulty.Classifier, "step", disturbed)


def fill(path: Path) -> None:
    """Write until the disk takes no more."""
    with path.open("wb", buffering=0) as file:
        for size in (2**20, 512):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_disk_that_is_full_or_read_only_is_one_error_and_costs_nothing_finished(
    faulty: Any, disk: Path, study: Path, calm: Calm, monkeypatch: pytest.MonkeyPatch, how: str,
    empty_database: Path,
) -> None:  # fmt: skip
    expected = calm(study)
    shutil.copy(empty_database, disk / "mlflow.db")
    filler = disk / "filler"

    def disturb() -> None:
        if how == "full":
            fill(filler)
        else:  # another mount over it: what is open for writing keeps the first one from changing
            subprocess.run(["mount", "--bind", str(disk), str(disk)], check=True)
            for _ in range(200):  # busy, while something of the new mount is being written
                if not subprocess.run(["mount", "-o", "remount,bind,ro", str(disk)], check=False).returncode:
                    return
                time.sleep(0.05)
            raise AssertionError("the disk stays busy")

    # The toy takes its notes elsewhere.
    disturbed = During(monkeypatch, faulty, LRS[1], disturb)
    monkeypatch.setattr(faulty, "fault_folder", lambda storage: study.parent)
    done = run("run", study, "--storage", disk)
    assert disturbed.done and done.returncode == 3, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and str(disk) in errors[0], done.stderr
    assert ("No space left" if how == "full" else "Read-only file system") in errors[0]
    assert "Traceback" not in done.stderr

    if how == "full":
        filler.unlink()
    else:
        subprocess.run(["umount", "-l", str(disk)], check=True)
    kept = faulty.contents(disk)
    assert set(kept) & set(faulty.contents(expected)), "the first trial had been finished"
    done = run("resume", "toy", "--storage", disk)
    assert done.returncode == 0, done.stderr
    assert_as_calm(faulty, disk, expected)


@pytest.mark.fault
@pytest.mark.timeout(300)
def test_a_disk_that_fills_up_under_trials_on_ray_is_one_error_too(
    faulty: Any, disk: Path, study: Path, calm: Calm, nodes: Any, drive: Any, empty_database: Path
) -> None:
    expected = calm(study)
    shutil.copy(empty_database, disk / "mlflow.db")
    faulty.slow(disk, 0.5)
    driver = drive("run", study, "--storage", disk, "--address", nodes.address)
    driver.wait_for(lambda: "classifier  3/6" in driver.text)
    filler = disk / "filler"
    fill(filler)
    assert driver.wait(120) == 3, driver.text[-3000:]
    errors = [line for line in driver.text.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and str(disk) in errors[0] and "No space left" in errors[0], driver.text[-3000:]
    filler.unlink()
    faulty.slow(disk, 0)
    done = run("resume", "toy", "--storage", disk)
    assert done.returncode == 0, done.stderr
    assert_as_calm(faulty, disk, expected)


def test_a_storage_that_cannot_be_written_is_refused_at_once(faulty: Any, study: Path, disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    done = run("run", study, "--storage", disk)
    assert done.returncode == 3
    assert str(disk) in done.stderr and "Read-only file system" in done.stderr
    assert "give --storage FOLDER" in done.stderr


def newest(pattern: str, storage: Path) -> Path:
    return max((storage / "store").glob(pattern), key=lambda path: path.stat().st_mtime_ns)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def test_a_flipped_byte_in_an_artefact_is_found_set_aside_and_made_again(
    faulty: Any, storage: Path, study: Path, calm: Calm
) -> None:
    expected = calm(study)
    assert run("run", study, "--storage", storage).returncode == 0
    records = faulty.records(storage)
    key = records["cam-cam-001"][2]["classifier"]
    # What is made from it has to be made again, so that it is read.
    for label in ("cams", "cams.scores", "pseudo_masks", "pseudo_masks.scores"):
        other = records["cam-cam-001"][2][label]
        shutil.rmtree(storage / "store" / other[:2] / other)
    flip(storage / "store" / key[:2] / key / "value.json")
    done = run("resume", "toy", "--storage", storage)
    assert done.returncode == 0, done.stderr
    assert [path.name.partition("-")[0] for path in (storage / "store/damaged").iterdir()] == [key]
    assert_as_calm(faulty, storage, expected)


def interrupted(faulty: Any, storage: Path, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a study until the second trial's third epoch, as if Ctrl-C had been pressed."""

    def stop() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        During(context, faulty, LRS[1], stop)
        done = run("run", study, "--storage", storage)
    assert done.returncode == 130, done.stderr


@pytest.mark.parametrize("damage", ["flipped", "cut", "no manifest"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    faulty: Any, storage: Path, study: Path, calm: Calm, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    expected = calm(study)
    interrupted(faulty, storage, study, monkeypatch)
    steps = sorted((storage / "store/partial").glob("*/step-*"))
    assert [path.name for path in steps] == ["step-000001", "step-000002"]
    if damage == "flipped":
        flip(steps[1] / "state.json")
    elif damage == "cut":
        (steps[1] / "state.json").write_bytes(b"")
    else:
        (steps[1] / "manifest.json").unlink()
    before = len(faulty.made(storage))
    assert run("resume", "toy", "--storage", storage).returncode == 0
    again = [epoch for lr, epoch, _ in faulty.made(storage)[before:] if lr == LRS[1]]
    assert again == [2, 3, 4, 5, 6], "goes on after the first epoch"
    assert_as_calm(faulty, storage, expected)


@pytest.mark.parametrize("cut", [1, 40])
def test_a_ledger_whose_tail_was_cut_loses_that_entry_alone(
    faulty: Any, storage: Path, study: Path, calm: Calm, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    expected = calm(study)
    interrupted(faulty, storage, study, monkeypatch)
    ledger = storage / "studies/toy/ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes()[:-cut])
    done = run("resume", "toy", "--storage", storage)
    assert done.returncode == 0, done.stderr
    assert_as_calm(faulty, storage, expected)


@pytest.mark.parametrize("content", [b"", b'{"version": 1, "files": {"/a": [1, 2'])
def test_a_cut_memory_of_fingerprints_is_taken_again(
    faulty: Any, storage: Path, tiny_voc: Path, tmp_path: Path, content: bytes
) -> None:
    study = tmp_path / "voc.yaml"
    text = faulty.study_text([0.01]).replace(
        "  dataset: sample\n  sample: {train: 8, val: 2, size: 64}\n  holdout: 0.25\n",
        f"  dataset: voc\n  root: {tiny_voc}\n  classes: [cat, dog]\n  train: train\n  holdout: 0\n",
    )
    study.write_text(text.replace("split: train, half: a", "split: val").replace(
        "split: train, half: b", "split: train"))  # fmt: skip
    done = run("run", study, "--storage", storage)
    assert done.returncode == 0, done.stderr
    memory = [path for path in (storage / "cache").rglob("*.json") if '"files"' in path.read_text()]
    assert len(memory) == 1
    whole = memory[0].read_bytes()
    memory[0].write_bytes(content)
    done = run("resume", "toy", "--storage", storage)
    assert done.returncode == 0 and "Nothing was computed" in done.stdout, done.stderr
    assert memory[0].read_bytes() == whole


@pytest.mark.parametrize("damage", ["cut", "empty", "gone"])
def test_a_damaged_study_file_is_named_and_run_writes_it_anew(
    faulty: Any, storage: Path, study: Path, calm: Calm, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    expected = calm(study)
    interrupted(faulty, storage, study, monkeypatch)
    stored = storage / "studies/toy/study.yaml"
    if damage == "cut":
        stored.write_bytes(stored.read_bytes()[: stored.stat().st_size // 2])
    elif damage == "empty":
        stored.write_bytes(b"")
    else:
        stored.unlink()
    done = run("resume", "toy", "--storage", storage)
    assert done.returncode == 2
    assert str(stored) in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    if damage != "gone":
        stored.unlink()
    done = run("run", study, "--storage", storage)
    assert done.returncode == 0, done.stderr
    assert_as_calm(faulty, storage, expected)
