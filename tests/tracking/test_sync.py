"""MLflow is a view: lost, emptied, moved or half there, it comes back from ledger and store, and only once."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import toy_studies as toy
from command_line import in_process
from mlflow.tracking import MlflowClient
from snapshot import snapshot, times

from wsss.errors import StageError
from wsss.pipeline.chains import execute
from wsss.pipeline.local import LocalExecutor
from wsss.pipeline.running import StudyLease
from wsss.pipeline.study import StudyRun
from wsss.store.storage import open_storage
from wsss.tracking import MlflowTracker
from wsss.tracking.sync import sync_study

SWEEP = "name: cam, metric: cams/select/miou, keep: 1, %s, stages: [classifier: {epochs: 4, lr: $lr}, cams]"
SEARCH = "search: {lr: {choice: [0.01, 0.1, 1.0]}}"
ASHA = "scheduler: {kind: asha, grace: 2, reduction: 2}"
MASKS = "name: masks, stages: [pseudo_masks]"


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> Any:
    return toy.install(monkeypatch)


def run(study: Any, data: Any, uri: str, *, stop_after: int = -1) -> list[str]:
    """Run a study as `run` does, MLflow beside it; return what was said."""
    from wsss.tuning.schedulers import make_judge  # takes Ray along

    said: list[str] = []
    storage = open_storage(study.storage)
    tracker = MlflowTracker(uri, storage.study_folder(study.name), storage=storage, warn=said.append)
    if stop_after < 0:
        StudyRun(study, data, LocalExecutor(storage.store, data), [tracker], make_judge).run()
        tracker.close()
    else:
        toy.run(study, data, stop_after=stop_after, observers=[tracker])
        tracker.close()
    return said


def sync(study: Any, uri: str) -> Any:
    return sync_study(open_storage(study.storage), study.name, uri, pause=0)


def lose(uri: str) -> None:
    """Lose the database and its files."""
    file = Path(uri.removeprefix("sqlite:///"))
    file.unlink()
    shutil.rmtree(file.parent / "mlartifacts", ignore_errors=True)


def change(uri: str, *statements: str) -> None:
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as database, database:
        for statement in statements:
            database.execute(statement)


@pytest.mark.long
@pytest.mark.parametrize(
    "sweeps",
    [
        [SWEEP % SEARCH, MASKS],
        [SWEEP % f"{ASHA}, {SEARCH}", MASKS],
        [SWEEP % f"{SEARCH}, seeds: [0, 1]", MASKS],
        [
            "name: cam, scheduler: {kind: pbt, interval: 2, mutate: {lr: {loguniform: [0.0001, 1.0]}}},"
            " samples: 4, search: {lr: {loguniform: [0.0001, 1.0]}},"
            " stages: [classifier: {epochs: 6, lr: $lr}, cams]"
        ],
    ],
    ids=["search", "asha", "seeds", "population"],
)
def test_what_a_run_left_comes_back_from_ledger_and_store(
    data: Any, tmp_path: Path, uri: str, sweeps: list[str]
) -> None:
    study = toy.study(tmp_path, *sweeps)
    assert run(study, data, uri) == []
    before, when = snapshot(uri, "toy"), times(uri, "toy")
    lose(uri)
    result = sync(study, uri)
    assert result.runs == len(before["runs"]) == result.added["runs"]
    assert snapshot(uri, "toy") == before
    for name, (began, ended) in times(uri, "toy").items():
        assert abs(began - when[name][0]) < 500 and abs(ended - when[name][1]) < 500, name
    again = sync(study, uri)
    assert again.added == {} and again.runs == result.runs
    assert snapshot(uri, "toy") == before


def test_a_run_begins_and_ends_when_its_trial_did_and_not_when_it_was_sent(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is away during the whole study; a step takes a quarter of a second."""

    def slow(self: Any) -> dict[str, float]:
        time.sleep(0.25)
        return original(self)

    original = toy.Classifier.step
    monkeypatch.setattr(toy.Classifier, "step", slow)
    study = toy.study(tmp_path, SWEEP % "search: {lr: {choice: [0.01]}}")
    storage = open_storage(study.storage)
    away = MlflowTracker(
        "http://127.0.0.1:9", storage.study_folder("toy"), storage=storage, warn=lambda text: None
    )
    began = time.time() * 1000
    toy.run(study, data, observers=[away])
    ended = time.time() * 1000
    away.close(0)
    time.sleep(1)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    late = MlflowTracker(uri, storage.study_folder("toy"), storage=storage)
    late.close()
    sync(study, uri)
    client = MlflowClient(uri)
    (run_id,) = [
        found.info.run_id
        for found in client.search_runs(["1"])
        if "wsss.trial" in found.data.tags
    ]  # fmt: skip
    (start, end) = times(uri, "toy")[next(name for name in times(uri, "toy") if name != "cam")]
    assert began <= start and end <= ended + 5
    assert end - start >= 4 * 250
    stamps = [point.timestamp for point in client.get_metric_history(run_id, "classifier/loss")]
    assert len(stamps) == 4 and stamps == sorted(stamps)
    assert all(later - earlier >= 240 for earlier, later in itertools.pairwise(stamps))
    assert start <= stamps[0] and stamps[-1] <= end


def test_a_failed_trial_and_its_curve_come_back_with_the_reason(
    data: Any, tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(self: Any) -> dict[str, float]:
        if self.params.lr == 0.1 and self.done == 2:
            raise StageError("a loss is not finite")
        return original(self)

    original = toy.Classifier.step
    monkeypatch.setattr(toy.Classifier, "step", step)
    monkeypatch.setitem(execute.run_chain.__kwdefaults__, "checkpoint_seconds", 0.0)
    study = toy.study(tmp_path, SWEEP % SEARCH)
    run(study, data, uri)
    before = snapshot(uri, "toy")
    (failed,) = [one for one in before["runs"].values() if one["status"] == "FAILED"]
    assert "not finite" in failed["tags"]["wsss.error"]
    assert [step for step, _ in failed["metrics"]["classifier/loss"]] == [1, 2]
    lose(uri)
    sync(study, uri)
    assert snapshot(uri, "toy") == before


def test_an_interrupted_trial_comes_back_as_killed_and_goes_on_in_its_own_run(
    data: Any, tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(execute.run_chain.__kwdefaults__, "checkpoint_seconds", 0.0)
    study = toy.study(tmp_path, SWEEP % SEARCH)
    run(study, data, uri, stop_after=6)
    before = snapshot(uri, "toy")
    assert {one["status"] for one in before["runs"].values()} == {"KILLED"}
    lose(uri)
    sync(study, uri)
    assert snapshot(uri, "toy") == before
    run(study, data, uri)
    after = snapshot(uri, "toy")
    assert {one["status"] for one in after["runs"].values()} == {"FINISHED"}
    calm = toy.study(tmp_path / "calm", SWEEP % SEARCH)
    other = f"sqlite:///{tmp_path}/calm/mlflow.db"
    run(calm, data, other)
    wanted = snapshot(other, "toy")["runs"]
    for runs in (after["runs"], wanted):
        for one in runs.values():
            one["metrics"].pop("tried/hours", None)  # measured, and not twice the same; steps come of it
            for name, points in one["metrics"].items():
                if name.startswith("tried/"):
                    one["metrics"][name] = [value for _, value in points]
    assert {n: (r["metrics"], r["params"]) for n, r in after["runs"].items()} == {
        n: (r["metrics"], r["params"]) for n, r in wanted.items()
    }


@pytest.mark.parametrize(
    "harm",
    [
        lambda uri: lose(uri),
        lambda uri: change(
            uri, "DELETE FROM latest_metrics", "DELETE FROM metrics", "DELETE FROM params",
            "DELETE FROM model_versions", "DELETE FROM registered_model_aliases", "DELETE FROM registered_models",
            "DELETE FROM tags", "DELETE FROM runs", "DELETE FROM experiment_tags", "DELETE FROM experiments",
        ),
        lambda uri: Path(uri.removeprefix("sqlite:///")).write_bytes(b""),
    ],
    ids=["deleted", "emptied", "cut to nothing"],
)  # fmt: skip
def test_a_run_brings_back_what_was_lost_before_it_began(
    data: Any, tmp_path: Path, uri: str, harm: Callable[[str], None]
) -> None:
    """The spool says that all has been sent, but to another database."""
    study = toy.study(tmp_path, SWEEP % SEARCH, MASKS)
    run(study, data, uri)
    before, when = snapshot(uri, "toy"), times(uri, "toy")
    harm(uri)
    said = run(study, data, uri)
    assert any("made again from ledger and store" in text for text in said)
    assert snapshot(uri, "toy") == before
    assert all(abs(began - when[name][0]) < 500 for name, (began, _) in times(uri, "toy").items())
    assert run(study, data, uri) == [], "nothing is missing any more"


def test_what_a_dead_run_left_open_is_closed_by_the_next(data: Any, tmp_path: Path, uri: str) -> None:
    study = toy.study(tmp_path, SWEEP % SEARCH)
    run(study, data, uri)
    change(uri, "UPDATE runs SET status = 'RUNNING', end_time = NULL")
    run(study, data, uri)
    assert {one["status"] for one in snapshot(uri, "toy")["runs"].values()} == {"FINISHED"}
    assert all(ended for _, ended in times(uri, "toy").values())


def test_a_sync_adds_what_is_missing_and_leaves_what_people_added(
    data: Any, tmp_path: Path, uri: str
) -> None:
    study = toy.study(tmp_path, SWEEP % SEARCH, MASKS)
    run(study, data, uri)
    before = snapshot(uri, "toy")
    client = MlflowClient(uri)
    ids = {str(one.info.run_name): one.info.run_id for one in client.search_runs(["1"])}
    mine, other, third = sorted(name for name in ids if name.startswith("cam-"))
    client.set_tag(ids[mine], "mlflow.note.content", "looks odd")
    client.set_tag(ids[mine], "paper", "figure 3")
    client.log_metric(ids[mine], "judged by eye", 0.9, step=1)
    client.log_text(ids[mine], "mine", "notes.txt")
    client.set_experiment_tag("1", "owner", "me")
    client.delete_run(ids[third])
    change(
        uri,
        f"DELETE FROM metrics WHERE run_uuid = '{ids[other]}' AND key = 'classifier/loss' AND step = 2",
        f"DELETE FROM params WHERE run_uuid = '{ids[other]}' AND key = 'lr'",
    )
    file = Path(client.get_run(ids[other]).info.artifact_uri.removeprefix("file://")) / "config.yaml"
    text = file.read_text()
    file.unlink()
    result = sync(study, uri)
    assert result.added == {"runs": 1, "parameters": 1, "metrics": 1, "files": 1}
    assert file.read_text() == text
    after = snapshot(uri, "toy")
    own = after["runs"][mine]
    assert own["tags"].pop("paper") == "figure 3" and own["metrics"].pop("judged by eye") == [(1, 0.9)]
    assert own["files"].pop("notes.txt") and after["tags"].pop("owner") == "me"
    assert after == before
    assert client.get_run(ids[mine]).data.tags["mlflow.note.content"] == "looks odd"
    assert client.get_run(ids[third]).info.lifecycle_stage == "active", "it is no second one"


def test_an_experiment_in_the_bin_is_taken_out_with_its_runs(data: Any, tmp_path: Path, uri: str) -> None:
    study = toy.study(tmp_path, SWEEP % SEARCH)
    run(study, data, uri)
    before = snapshot(uri, "toy")
    MlflowClient(uri).delete_experiment("1")
    sync(study, uri)
    assert snapshot(uri, "toy") == before


def test_a_run_of_the_study_leaves_in_the_bin_what_was_put_there(data: Any, tmp_path: Path, uri: str) -> None:
    study = toy.study(tmp_path, SWEEP % SEARCH)
    run(study, data, uri)
    client = MlflowClient(uri)
    binned = next(one for one in client.search_runs(["1"]) if "wsss.trial" in one.data.tags)
    client.delete_run(binned.info.run_id)
    assert not [text for text in run(study, data, uri) if "lacks" in text]


def test_files_are_found_after_the_storage_was_moved_and_copied(
    data: Any, tmp_path: Path, empty_database: Path
) -> None:
    old, new, copy = tmp_path / "old place ä", tmp_path / "new/place", tmp_path / "copy"
    old.mkdir()
    shutil.copy(empty_database, old / "mlflow.db")
    study = toy.study(old, SWEEP % SEARCH)
    run(study, data, f"sqlite:///{old}/mlflow.db")
    before = snapshot(f"sqlite:///{old}/mlflow.db", "toy")
    client = MlflowClient(f"sqlite:///{old}/mlflow.db")
    client.set_tag(next(iter(client.search_runs(["1"]))).info.run_id, "paper", "figure 3")
    shutil.copytree(old, copy)
    new.parent.mkdir()
    old.rename(new)
    for place in (new, copy):
        uri = f"sqlite:///{place}/mlflow.db"
        result = sync_study(open_storage(place), "toy", uri)
        assert result.added == {}
        assert any("was moved here" in note for note in result.notes)
        found = snapshot(uri, "toy")
        assert [one["tags"].pop("paper") for one in found["runs"].values() if "paper" in one["tags"]]
        assert found == before
        there = MlflowClient(uri)
        locations = [there.get_experiment("1").artifact_location]
        locations += [one.info.artifact_uri for one in there.search_runs(["1"])]
        locations += [one.source for one in there.search_model_versions("name = 'wsss-toy'")]
        assert all(one.startswith(place.as_uri() + "/mlartifacts/") for one in locations)
        assert sync_study(open_storage(place), "toy", uri).notes == []
    assert not old.exists(), "nothing is written to where it was"


def test_a_storage_that_is_seen_through_a_link_is_not_moved(data: Any, tmp_path: Path, uri: str) -> None:
    study = toy.study(tmp_path, SWEEP % SEARCH)
    run(study, data, uri)
    alias = tmp_path.with_name(f"{tmp_path.name}-alias")
    alias.symlink_to(tmp_path)
    result = sync_study(open_storage(alias), "toy", f"sqlite:///{alias}/mlflow.db")
    assert result.notes == [] and result.added == {}


def test_old_ledgers_without_beginnings_and_milliseconds_are_retold(
    data: Any, tmp_path: Path, uri: str
) -> None:
    study = toy.study(tmp_path, SWEEP % SEARCH, MASKS)
    run(study, data, uri)
    before = snapshot(uri, "toy")
    ledger = tmp_path / "studies/toy/ledger.jsonl"
    entries = [json.loads(line) for line in ledger.read_text().splitlines()]
    old = [{**one, "time": one["time"][:19] + "+00:00"} for one in entries if one["type"] != "begin"]
    for one in old:
        del one["sha256"]  # they had no checksums either
    ledger.write_text("".join(json.dumps(one) + "\n" for one in old))
    for record in (tmp_path / "store").glob("*/*/artefact.json"):
        content = json.loads(record.read_text())
        del content["times"], content["sha256"]
        record.write_text(json.dumps(content))
    lose(uri)
    sync(study, uri)
    assert snapshot(uri, "toy") == before


@pytest.mark.long
def test_the_verb_syncs_all_studies_and_names_what_is_wrong(
    data: Any, tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        run(toy.study(tmp_path, SWEEP % SEARCH, name=name), data, uri)
    before = {name: snapshot(uri, name)["runs"] for name in ("one", "two")}
    lose(uri)
    done = in_process("sync", "--storage", tmp_path, "--json")
    told = json.loads(done.stdout)["studies"]
    assert done.returncode == 0 and [(one["study"], one["runs"]) for one in told] == [("one", 4), ("two", 4)]
    after = {name: snapshot(uri, name)["runs"] for name in before}
    own = {name: after[name].pop(name) for name in after}  # what each study came to
    assert after == before and all("compare.json" in one["files"] for one in own.values())
    assert "nothing was missing" in in_process("sync", "two", "--storage", tmp_path).stdout
    unknown = in_process("sync", "tow", "--storage", tmp_path)
    assert unknown.returncode == 2 and "did you mean 'two'?" in unknown.stderr
    nowhere = in_process("sync", "--storage", tmp_path / "nowhere")
    assert nowhere.returncode == 2 and "there is no such folder" in nowhere.stderr
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "studies/one/study.yaml").write_text("name: [")
    harmed = in_process("sync", "--storage", tmp_path)
    assert harmed.returncode == 3 and "one: " in harmed.stderr and "two: 4 runs" in harmed.stdout
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    away = in_process("sync", "two", "--storage", tmp_path)
    assert away.returncode == 3 and "does not answer" in away.stderr and "Traceback" not in away.stderr


def test_what_another_run_works_on_stays_open(
    data: Any, tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = toy.study(tmp_path, SWEEP % SEARCH)
    run(study, data, uri, stop_after=6)
    lose(uri)
    with StudyLease(study, open_storage(study.storage), print) as lease:
        assert lease.acquire() is None
        (note,) = sync(study, uri).notes
    who = f"process {os.getpid()} on {socket.gethostname()}"
    assert note.startswith(f"toy is being run ({who}") and note.endswith("what it works on stays open")
    assert {one["status"] for one in snapshot(uri, "toy")["runs"].values()} == {"RUNNING"}
    sync(study, uri)
    assert {one["status"] for one in snapshot(uri, "toy")["runs"].values()} == {"KILLED"}


def test_files_that_were_not_sent_before_a_move_are_sent_after_it(
    data: Any, tmp_path: Path, empty_database: Path
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    study = toy.study(old, SWEEP % SEARCH)
    storage = open_storage(old)
    away = MlflowTracker("http://127.0.0.1:9", storage.study_folder("toy"), warn=lambda text: None)
    toy.run(study, data, observers=[away])
    away.close(0)
    old.rename(new)
    shutil.copy(empty_database, new / "mlflow.db")
    uri = f"sqlite:///{new}/mlflow.db"
    MlflowTracker(uri, new / "studies/toy").close()  # from the spool alone
    files = [one["files"] for one in snapshot(uri, "toy")["runs"].values()]
    assert sum("classifier.safetensors" in one for one in files) == 3


def test_a_ledger_that_cannot_be_retold_does_not_keep_a_study_from_running(
    data: Any, tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("keys")

    monkeypatch.setattr("wsss.tracking.sync.remember", fail)
    (said,) = run(toy.study(tmp_path, SWEEP % SEARCH), data, uri)
    assert "can't be retold" in said
    assert {one["status"] for one in snapshot(uri, "toy")["runs"].values()} == {"FINISHED"}
