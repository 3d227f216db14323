"""One run of a study at a time: who holds its lease, who is told so, who takes over, and that it ends."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import toy_studies as toy
from s3_server import s3_address

from wsss.config import Study
from wsss.config.text.location import Location
from wsss.errors import ConfigError
from wsss.files import write_json
from wsss.pipeline import running
from wsss.pipeline.events import Event, StudyFinished, TrialProgress
from wsss.pipeline.local import LocalExecutor
from wsss.pipeline.running import Holder, Overtaken, StudyLease, content_digest, current_holder
from wsss.pipeline.study import StudyRun
from wsss.store.folder_store import Store
from wsss.store.lease import release_all, this_process
from wsss.store.objects.client import Objects
from wsss.store.storage import open_storage

SWEEP = "name: cam, stages: [classifier: {epochs: 3, lr: 0.1}, cams]"
Put = Callable[[dict[str, Any]], None]


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Location:
    if request.param == "folder":
        return tmp_path / "runs"
    monkeypatch.setenv("WSSS_CACHE", str(tmp_path / "cache"))
    return s3_address(request.getfixturevalue("s3"))


def a_study(place: Location, sweep: str = SWEEP) -> Study:
    return toy.study(place, sweep)  # type: ignore[arg-type]


def wish(study: Study, timeout: float = 60.0, told: Callable[[str], None] = print) -> StudyLease:
    return StudyLease(study, open_storage(study.storage, lease_timeout=timeout), told)


def put_lease(place: Location, content: dict[str, Any]) -> None:
    """Write what another run left, or leaves."""
    if isinstance(place, Path):
        write_json(place / "studies/toy/lease", content)
    else:
        Objects(place).write("studies/toy/lease", json.dumps(content).encode())


def elsewhere(study: Study, **more: Any) -> dict[str, Any]:
    about = {
        "owner": "they",
        "host": "other boot pid",
        "pid": 7,
        "started": 0.0,
        "beat": 0,
        "job": "raysubmit_x",
    }
    since = "2026-01-01T00:00:00+00:00"
    return {**about, "since": since, "place": "/mnt/x", "study": content_digest(study), **more}


def dead_process() -> dict[str, Any]:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return {**this_process(), "pid": ended.pid}


def test_the_second_learns_who_runs_it_and_the_lease_ends(
    place: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = a_study(place)
    job = {"runtime_env": {}, "metadata": {"job_name": "x", "job_submission_id": "raysubmit_42"}}
    monkeypatch.setenv(running.JOB_CONFIG, json.dumps(job))
    with wish(study) as first, wish(study) as second:
        assert first.acquire() is None and first.still_mine()
        holder = second.acquire()
        assert holder is not None and holder.process == os.getpid() and holder.job == "raysubmit_42"
        assert holder == current_holder("toy", open_storage(place))
        assert str(holder).startswith(f"process {os.getpid()} on ") and "Ray job raysubmit_42" in str(holder)
    assert current_holder("toy", open_storage(place)) is None
    with wish(study) as third:
        assert third.acquire() is None
    if isinstance(place, Path):
        assert not (place / "studies/toy").exists(), "nothing was begun"


def test_the_lease_ends_with_an_error_too_and_before_a_process_ends_at_once(place: Location) -> None:
    study = a_study(place)
    with contextlib.suppress(KeyboardInterrupt), wish(study) as lease:
        assert lease.acquire() is None
        raise KeyboardInterrupt
    assert current_holder("toy", open_storage(place)) is None
    assert wish(study).acquire() is None
    assert current_holder("toy", open_storage(place)) is not None
    release_all(30)
    assert current_holder("toy", open_storage(place)) is None


def test_who_runs_it_elsewhere_is_known_by_a_sign_of_life(place: Location) -> None:
    study = a_study(place)
    put_lease(place, elsewhere(study))
    stop = threading.Event()

    def live() -> None:
        beat = 0
        while not stop.wait(0.7):
            beat += 1
            put_lease(place, elsewhere(study, beat=beat))

    other = threading.Thread(target=live)
    other.start()
    try:
        with wish(study, timeout=20) as lease:
            assert lease.acquire(0.1) == Holder("other", 7, "raysubmit_x", "2026-01-01T00:00:00+00:00")
    finally:
        stop.set()
        other.join()


def test_who_died_elsewhere_is_taken_over_after_the_timeout_and_here_at_once(
    place: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = a_study(place)
    put_lease(place, elsewhere(study))
    monkeypatch.setattr(running, "PATIENCE", 0.5)
    told: list[str] = []
    began = time.monotonic()
    with wish(study, 2.0, told.append) as lease:
        assert lease.acquire(0.1) is None
        assert time.monotonic() - began >= 2
    assert len(told) == 1 and "process 7 on other, Ray job raysubmit_x" in told[0]
    put_lease(place, {**elsewhere(study), **dead_process(), "place": str(place)})
    assert current_holder("toy", open_storage(place)) is None
    with wish(study, timeout=600) as lease:
        assert lease.acquire(0.1) is None


def test_a_copied_storage_is_not_run_by_who_runs_the_original(tmp_path: Path) -> None:
    study = a_study(tmp_path / "runs")
    with wish(study) as original:
        assert original.acquire() is None
        code = "import time; time.sleep(60)"
        with subprocess.Popen([sys.executable, "-c", code]) as alive:
            import psutil

            started = psutil.Process(alive.pid).create_time()
            here = {**this_process(), "pid": alive.pid, "started": started, "place": str(tmp_path / "runs")}
            put_lease(tmp_path / "runs", elsewhere(study, **here))
            shutil.copytree(tmp_path / "runs", tmp_path / "copy")
            assert wish(study).acquire(0.1) is not None, "a process of this machine that lives"
            with wish(a_study(tmp_path / "copy"), timeout=1.5) as copy:
                assert copy.acquire(0.1) is None
            alive.kill()


def test_another_study_of_that_name_is_not_the_same_study(place: Location) -> None:
    with wish(a_study(place)) as first:
        assert first.acquire() is None
        other = a_study(place, SWEEP.replace("0.1", "0.2"))
        with pytest.raises(ConfigError, match="another study of that name is run at this moment"):
            wish(other).acquire()


@pytest.mark.parametrize("content", ["", "[1]", "\0", "{", '{"owner": 3, "pid": "x", "host": [1]}'])
def test_a_damaged_lease_is_watched_and_taken_over(tmp_path: Path, content: str) -> None:
    study = a_study(tmp_path)
    (tmp_path / "studies/toy").mkdir(parents=True)
    (tmp_path / "studies/toy/lease").write_text(content)
    with wish(study, timeout=1.0) as lease:
        assert lease.acquire(0.1) is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"metadata": 3}', '{"metadata": {"job_submission_id": 3}}']
)
def test_no_job_is_no_job(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(running.JOB_CONFIG, text)
    assert running.this_job() == ""


class Taken:
    """An observer in whose middle another run takes the study over, as from a frozen process."""

    def __init__(self, place: Path, content: dict[str, Any], interrupt: bool) -> None:
        self.place, self.content, self.interrupt = place, content, interrupt
        self.events: list[Event] = []

    def on_event(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, TrialProgress) and event.step == 2:
            put_lease(self.place, self.content)
            if self.interrupt:
                raise KeyboardInterrupt

    def close(self) -> None: ...


@pytest.mark.parametrize("interrupt", [False, True])
def test_a_run_that_was_taken_over_ends_nothing_of_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupt: bool
) -> None:
    data = toy.install(monkeypatch)
    study = a_study(tmp_path, SWEEP.replace("epochs: 3", "epochs: 40"))
    monkeypatch.setattr(toy.Classifier, "step", _slowly(toy.Classifier.step))
    seen = Taken(tmp_path, elsewhere(study), interrupt)
    with wish(study, timeout=1.2) as lease:
        assert lease.acquire() is None
        executor = toy.Executor(tmp_path, data)
        monkeypatch.setattr(executor, "run", _stoppable(executor.run))
        with pytest.raises(Overtaken):
            StudyRun(study, data, executor, [seen], lease=lease).run()
        assert lease.lost
    assert not any(isinstance(event, StudyFinished) for event in seen.events)
    assert current_holder("toy", open_storage(tmp_path)) == Holder(
        "other", 7, "raysubmit_x", "2026-01-01T00:00:00+00:00"
    )


def _slowly(step: Callable[[Any], dict[str, float]]) -> Callable[[Any], dict[str, float]]:
    def slow(self: Any) -> dict[str, float]:
        time.sleep(0.05)
        return step(self)

    return slow


def _stoppable(run: Callable[..., None]) -> Callable[..., None]:
    """An executor that asks whether to stop, as the real ones do."""

    def asking(jobs: Any, resources: Any, listener: Any) -> None:
        event = listener.event
        listener.event = lambda one: event(one) and not listener.stopping()
        run(jobs, resources, listener)

    return asking


def test_a_file_server_that_is_away_has_given_the_lease_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_text

    def away(path: Path, *words: Any, **more: Any) -> str:
        if path.name == "lease":
            raise OSError(errno.ESTALE, "Stale file handle")
        return read(path, *words, **more)

    study = a_study(tmp_path / "runs")
    with wish(study, timeout=0.6) as lease:
        assert lease.acquire() is None
        monkeypatch.setattr(Path, "read_text", away)
        time.sleep(0.3)
        assert lease.still_mine() and not lease.lost
        monkeypatch.setattr(Path, "read_text", read)
        (tmp_path / "runs").rename(tmp_path / "moved")
        assert not lease.still_mine(), "who works on cannot do so here"
    assert not (tmp_path / "runs").exists()


def test_a_storage_that_is_moved_ends_the_run_and_no_trial_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = toy.install(monkeypatch)
    study = a_study(tmp_path / "runs", SWEEP)

    class Mover:
        def on_event(self, event: Event) -> None:
            if isinstance(event, TrialProgress) and (tmp_path / "runs").exists():
                (tmp_path / "runs").rename(tmp_path / "moved")

    with wish(study) as lease:
        assert lease.acquire() is None
        executor = LocalExecutor(Store(tmp_path / "runs" / "store"), data)
        with pytest.raises(Overtaken):
            StudyRun(study, data, executor, [Mover()], lease=lease).run()
    assert not (tmp_path / "runs" / "studies").exists()
    (record,) = open_storage(tmp_path / "moved").ledger("toy").trials().values()
    assert record.status == "started"
