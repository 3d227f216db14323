"""Operations that go wrong half-way: lost answers, slow servers, refusals, files that are too large."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2 as codes
from mlflow.tracking import MlflowClient
from story import METRIC, TRIALS, beginning, conclusion, ending, history, runs, tell

from wsss.pipeline.events import TrialFinished
from wsss.tracking.database import artifacts_folder
from wsss.tracking.refusals import is_permanent
from wsss.tracking.remote import replay as replay_module
from wsss.tracking.remote.replay import MlflowReplay

FIRST, SECOND = (trial.id for trial in TRIALS)
WRITES = (
    "create_experiment", "create_run", "update_run", "log_batch", "set_tag", "log_artifact",
    "create_registered_model", "create_model_version", "set_registered_model_alias", "set_terminated",
    "log_inputs", "log_text", "log_artifacts", "set_experiment_tag",
)  # fmt: skip


def spooled(folder: Path, *, concluded: bool = False) -> list[dict[str, Any]]:
    """What a tracker writes down of a whole study while nobody takes it."""
    events = [*beginning(folder), *ending(folder)]
    tell("http://127.0.0.1:9", folder, events, seconds=0, conclude=conclusion(folder) if concluded else None)
    lines = (folder / "studies/made/tracking/operations.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def lose_answers(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, int]]:
    """Let the first call of every operation reach the store, then fail; count the metric points sent."""
    lost: set[str] = set()
    points: Counter[tuple[str, int]] = Counter()

    def losing(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: MlflowClient, *args: Any, **options: Any) -> Any:
            result = method(self, *args, **options)
            points.update((f"{args[0]} {m.key}", m.step) for m in options.get("metrics", ()))
            about = f"{name} {[Path(str(word)).name for word in args]} {options}"
            if about not in lost:
                lost.add(about)
                raise ConnectionError("the answer got lost")
            return result

        return call

    for name in WRITES:
        monkeypatch.setattr(MlflowClient, name, losing(name, getattr(MlflowClient, name)))
    return points


def test_an_operation_whose_answer_got_lost_is_not_done_twice(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    operations = spooled(tmp_path, concluded=True)
    with monkeypatch.context() as patch:
        points = lose_answers(patch)
        replay = MlflowReplay(uri, artifacts_folder(uri))
        for operation in operations:
            for _ in range(30):
                try:
                    replay.do(operation)
                    break
                except ConnectionError:
                    continue
            else:
                pytest.fail(f"{operation} never got through")
    assert points
    assert set(points.values()) == {1}
    found = runs(uri)
    assert set(found) == {"cam", FIRST, SECOND, "made"}
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert history(uri, found[FIRST], "classifier/loss") == [(1, 0.9), (2, 0.7), (3, 0.6)]
    assert len(MlflowClient(uri).search_model_versions("name = 'made'")) == 1


class SlowToCreate(BaseHTTPRequestHandler):
    """A server that has no runs and takes longer to create one than anybody waits."""

    asked: Counter[str]

    def do_GET(self) -> None:
        self._answer({"experiment": {"experiment_id": "1", "lifecycle_stage": "active"}})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.asked[self.path.rpartition("/")[2]] += 1
        if self.path.endswith("runs/create"):
            time.sleep(2)
        self._answer({})

    def _answer(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def slow_server() -> Iterator[ThreadingHTTPServer]:
    handler = type("Handler", (SlowToCreate,), {"asked": Counter()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_slow_server_is_asked_to_create_a_run_once_a_try(
    slow_server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking again without looking first would leave two runs of one trial."""
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    replay = MlflowReplay(f"http://127.0.0.1:{slow_server.server_port}", None)
    operation = {
        "op": "run", "study": "made", "run": "sweep:cam", "name": "cam", "parent": "", "tags": {}, "params": {},
        "cached": True,
    }  # fmt: skip
    with pytest.raises(MlflowException) as caught:
        replay.do(operation)
    assert not is_permanent(caught.value), "it is tried again"
    handler: Any = slow_server.RequestHandlerClass
    assert handler.asked == {"search": 1, "create": 1}


def refused(status: int) -> requests.HTTPError:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError(response=response)


@pytest.mark.parametrize(
    ("error", "permanent"),
    [
        (MlflowException("too long", codes.INVALID_PARAMETER_VALUE), True),
        (MlflowException("no such run", codes.RESOURCE_DOES_NOT_EXIST), True),
        (MlflowException("<html>sent to an HTTPS port</html>", codes.BAD_REQUEST), False),
        (MlflowException("Max retries exceeded", codes.INTERNAL_ERROR), False),
        (MlflowException("log in", codes.PERMISSION_DENIED), False),
        (refused(413), True),
        (refused(502), False),
        (ConnectionError("refused"), False),
        (OSError(28, "No space left on device"), False),
    ],
)
def test_only_what_the_server_refused_itself_is_given_up(error: Exception, permanent: bool) -> None:
    assert is_permanent(error) == permanent


def test_what_is_refused_is_said_and_holds_nothing_up(uri: str, tmp_path: Path) -> None:
    tell(uri, tmp_path, beginning(tmp_path))
    client = MlflowClient(uri)
    client.delete_run(runs(uri)[FIRST].info.run_id)
    spool = tmp_path / "studies/made/tracking/operations.jsonl"
    late = {
        "op": "metrics",
        "study": "made",
        "run": f"trial:{FIRST}",
        "values": {"x": 1},
        "step": 0,
        "time": 1,
    }
    last = {"op": "end", "study": "made", "run": "sweep:cam", "status": "FINISHED"}
    with spool.open("a") as file:
        file.write(f"{json.dumps(late)}\n{json.dumps(last)}\n")
    (warning,) = tell(uri, tmp_path, [])
    assert "refused `metrics` of trial:cam-fmix-000" in warning
    assert "was deleted" in warning
    assert runs(uri)["cam"].info.status == "FINISHED"


def test_a_line_that_a_crash_cut_short_costs_only_itself(uri: str, tmp_path: Path) -> None:
    spooled(tmp_path)
    spool = tmp_path / "studies/made/tracking/operations.jsonl"
    whole = spool.read_bytes()
    spool.write_bytes(whole[:-9])  # the end of the sweep
    assert tell(uri, tmp_path, []) == []
    found = runs(uri)
    assert found["cam"].info.status == "RUNNING"
    assert found["cam"].data.tags["wsss.best_trial"] == FIRST
    assert found[FIRST].info.status == found[SECOND].info.status == "FINISHED"
    assert history(uri, found[SECOND], METRIC) == [(0, 0.4)]


def test_an_experiment_in_the_bin_is_taken_out_again(uri: str, tmp_path: Path) -> None:
    tell(uri, tmp_path, beginning(tmp_path))
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("made")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    assert tell(uri, tmp_path, [*beginning(tmp_path)[:3], *ending(tmp_path)]) == []
    assert runs(uri)["cam"].info.status == "FINISHED"
    assert client.get_experiment(experiment.experiment_id).lifecycle_stage == "active"


def test_a_file_too_large_to_send_leaves_its_address_and_digest(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_module, "LARGEST_UPLOAD", 6)
    tell(uri, tmp_path, [*beginning(tmp_path), *ending(tmp_path)])
    run_id = runs(uri)[FIRST].info.run_id
    client = MlflowClient(uri)
    names = {item.path for item in client.list_artifacts(run_id)}
    assert "classifier.safetensors" not in names
    about = json.loads(Path(client.download_artifacts(run_id, "classifier.safetensors.json")).read_text())
    assert about == {
        "address": str(tmp_path / "classifier.safetensors"),
        "bytes": 7,
        "sha256": hashlib.sha256(b"weights").hexdigest(),
    }


def test_the_checkpoints_of_a_chain_keep_their_names(uri: str, tmp_path: Path) -> None:
    """The store calls every classifier's file `classifier.safetensors`, whatever its label."""
    files = {}
    for label in ("teacher", "classifier"):
        path = tmp_path / label / "classifier.safetensors"
        path.parent.mkdir()
        path.write_text(f"weights of the {label}")
        files[f"{label}.safetensors"] = str(path)
    finished = TrialFinished(TRIALS[0], "done", {METRIC: 0.5}, files=files)
    tell(uri, tmp_path, [*beginning(tmp_path), finished, ending(tmp_path)[-2]])
    client, run_id = MlflowClient(uri), runs(uri)[FIRST].info.run_id
    for label in ("teacher", "classifier"):
        sent = Path(client.download_artifacts(run_id, f"{label}.safetensors"))
        assert sent.read_text() == f"weights of the {label}"


def test_a_database_that_cannot_be_read_any_more_is_an_error_without_a_traceback(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    replay = MlflowReplay(uri, None)
    replay.do({"op": "experiment", "name": "first"})
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        database.execute("ALTER TABLE experiments RENAME TO lost")
    with pytest.raises(MlflowException, match="no such table"):
        replay.do({"op": "experiment", "name": "second"})
    assert "Traceback" not in capfd.readouterr().err
