"""A canary in every place that takes an address: no verb prints it, no file that is written holds it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import in_process

from wsss.cli.running.holder import say_who_runs_it
from wsss.config import load_study
from wsss.errors import ConfigError
from wsss.pipeline import local
from wsss.pipeline.past.stored_studies import stored_text
from wsss.store.storage import open_storage
from wsss.tracking import sync, tracker
from wsss.tuning.joining.cluster import connect

CANARY = "CANARYcanary42"
ADDRESSES = {
    "azure": f"abfs://:{CANARY}@account.dfs.core.windows.net/c",
    "query": f"s3://bucket/x?secret_key={CANARY}",
    "encoded": f"s3://bucket/x?client%5Fsecret={CANARY}",
    "malformed": f"s3:/KEY:{CANARY}@bucket/x",
    "server": f"http://me:{CANARY}@h:5000",
    "database": f"postgresql://me:{CANARY}@127.0.0.1:9/db",
    "broken": f"http://me:{CANARY} x@h:port/",
}
VERBS = ("run", "plan", "resume", "compare", "ls", "prune", "doctor", "predict", "submit", "check")


@pytest.fixture(autouse=True)
def no_canary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[None]:
    """Afterwards, look through all that was written and printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WSSS_CACHE", str(tmp_path / "cache"))
    for name in ("launch.py", "x.jpg"):
        (tmp_path / name).touch()
    own = {path for path in tmp_path.rglob("*") if path.is_file()}
    yield
    printed = capfd.readouterr()
    assert CANARY not in printed.out + printed.err
    for path in set(tmp_path.rglob("*")) - own:
        assert CANARY not in str(path)
        if path.is_file() and path.name != "mine.yaml":
            assert CANARY.encode() not in path.read_bytes(), path


def words_of(verb: str, study: Path, address: str) -> list[object]:
    return {
        "run": ["run", study, "--local", "--storage", address],
        "plan": ["plan", study, "--storage", address],
        "resume": ["resume", "tiny", "--storage", address],
        "compare": ["compare", "--storage", address],
        "ls": ["storage", "ls", "--storage", address],
        "prune": ["storage", "prune", "--storage", address],
        "doctor": ["doctor", "--storage", address],
        "predict": ["predict", "x.jpg", "--model", "abcdef", "-o", "out", "--storage", address],
        "submit": ["cluster", "submit", study, "--storage", address],
        "check": ["cluster", "check", study, "--storage", address],
    }[verb]


@pytest.mark.parametrize(
    ("verb", "kind"), [*((verb, "azure") for verb in VERBS), *(("ls", kind) for kind in ADDRESSES)]
)
def test_no_verb_takes_a_storage_with_a_secret(verb: str, kind: str, tiny_study: Path) -> None:
    done = in_process(*words_of(verb, tiny_study, ADDRESSES[kind]))
    assert done.returncode == 2, done.stderr
    assert CANARY not in done.stdout + done.stderr
    assert "…" in done.stderr and "addresses are written down" in done.stderr


@pytest.mark.parametrize(
    "key", ["tracking.uri", "storage", "data.root", "sweeps.cam.baseline.classifier.weights"]
)
@pytest.mark.parametrize("address", ADDRESSES.values(), ids=ADDRESSES.keys())
def test_no_key_of_a_study_takes_one(key: str, address: str, tiny_study: Path, tmp_path: Path) -> None:
    # Whatever is given beside it: the words of a job would hold it although `--storage` wins.
    done = in_process(*words_of("submit", tiny_study, "/elsewhere/runs"), "-s", f"{key}={address}")
    assert done.returncode == 2, done.stderr
    assert CANARY not in done.stdout + done.stderr
    assert key in done.stderr and "addresses are written down" in done.stderr


@pytest.mark.parametrize("address", ADDRESSES.values(), ids=ADDRESSES.keys())
def test_a_study_file_with_secrets_says_all_of_them_at_once(
    address: str, tiny_study_text: str, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.yaml"
    quoted = json.dumps(address)
    mine.write_text(f"{tiny_study_text}storage: {quoted}\ntracking: {{uri: {quoted}}}\n")
    done = in_process("run", mine, "--local")
    assert done.returncode == 2 and CANARY not in done.stderr
    lines = tiny_study_text.count("\n")
    assert f"mine.yaml:{lines + 1}: `storage`" in done.stderr
    assert f"mine.yaml:{lines + 2}: `uri`" in done.stderr
    for broken in (
        f"tracking: {quoted}",
        f"storage: {{secret_key: {CANARY}}}",
        f"tracking: {{password: {CANARY}}}",
    ):
        mine.write_text(f"{tiny_study_text}{broken}\n")
        done = in_process("run", mine, "--local")
        assert done.returncode == 2 and CANARY not in done.stderr, done.stderr


@pytest.mark.parametrize(
    "address", [ADDRESSES["server"], ADDRESSES["broken"], f"me:{CANARY}@h:6379", f"{CANARY}@h"]
)
def test_no_cluster_is_addressed_with_one(
    address: str, tiny_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = in_process("cluster", "submit", tiny_study, "--storage", "/elsewhere/runs", "--address", address)
    assert done.returncode == 2, done.stderr
    assert "--address: is" in done.stderr and "RAY_AUTH_TOKEN" in done.stderr
    assert CANARY not in done.stdout + done.stderr
    for given, variable in ((address, "--address"), (None, "RAY_ADDRESS")):
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(ConfigError, match=f"^{variable}: is") as caught:
            connect(given)
        assert CANARY not in str(caught.value)


def test_a_server_in_the_environment_has_its_password_beside_it(
    tiny_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", ADDRESSES["server"])
    done = in_process("run", tiny_study, "--local", "--storage", tmp_path / "runs")
    assert done.returncode == 3 and "MLFLOW_TRACKING_URI: is 'http://…@h:5000'" in done.stderr
    assert "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in done.stderr
    assert CANARY not in done.stderr


def test_a_databases_password_in_the_environment_is_used_and_never_written(
    tiny_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole study, one of whose trials fails with an error that repeats every secret there is."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", ADDRESSES["database"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", f"aws-{CANARY}")
    monkeypatch.setattr(tracker, "QUIET_SECONDS", 2.0)
    make = local.run_chain

    def failing(name: str, *arguments: object, **options: object) -> Iterator[object]:
        if "fmix" in name:
            raise RuntimeError(f"no route to {ADDRESSES['database']} with aws-{CANARY}")
        return make(name, *arguments, **options)  # type: ignore[arg-type]

    def later(*arguments: object, **options: object) -> Iterator[object]:
        yield from failing(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(local, "run_chain", later)
    place = tmp_path / "runs"
    done = in_process("run", tiny_study, "--smoke", "--local", "--storage", place, "--json")
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["tracking"] == "postgresql://…@127.0.0.1:9/db"
    assert "postgresql://…@127.0.0.1:9/db" in done.stderr, "it does not answer, and that is said"
    name = next((place / "studies").iterdir()).name
    trials = open_storage(place).ledger(name).trials().values()
    errors = [trial.error for trial in trials if trial.status == "failed"]
    assert errors and all("no route to postgresql://…@127.0.0.1:9/db with …" in error for error in errors)
    for words in (["plan", tiny_study, "--json"], ["compare"]):
        again = in_process(*words, "--storage", place)
        assert again.returncode == 0, again.stderr
        assert CANARY not in again.stdout + again.stderr
    assert CANARY not in done.stdout + done.stderr


def test_a_job_takes_no_secret_along(
    tiny_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wsss.tuning import submit

    sent: list[object] = []

    class Client:
        def __init__(self, address: str) -> None:
            pass

        def submit_job(self, **job: object) -> str:
            sent.append(job)
            return "raysubmit_1"

    monkeypatch.setattr(submit, "JobSubmissionClient", Client)
    monkeypatch.setattr(submit, "check_dashboard", lambda address: None)
    for variable in (
        "MLFLOW_TRACKING_PASSWORD",
        "AWS_SECRET_ACCESS_KEY",
        "RAY_AUTH_TOKEN",
        "AZURE_CLIENT_SECRET",
    ):
        monkeypatch.setenv(variable, CANARY)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", ADDRESSES["database"])
    done = in_process("cluster", "submit", tiny_study.name, "--storage", "/elsewhere/runs")
    assert done.returncode == 0, done.stderr
    assert CANARY not in str(sent) + done.stdout + done.stderr
    assert "MLFLOW_TRACKING_URI holds a secret and stays here" in done.stderr


def test_nothing_is_downloaded_from_one(tmp_path: Path) -> None:
    for address in (ADDRESSES["server"], f"https://h/x?X-Amz-Signature={CANARY}"):
        done = in_process("data", "fetch", tmp_path / "data", "--from", address)
        assert done.returncode == 2 and "--from: is" in done.stderr
        assert CANARY not in done.stdout + done.stderr


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_a_databases_password_is_not_printed_by_sync_or_of_a_study_that_is_run_already(
    words: list[str], tiny_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", ADDRESSES["database"])
    monkeypatch.setattr(sync, "sync_study", lambda storage, name, uri, **options: sync.Synced(name))
    study = load_study(tiny_study, storage=str(tmp_path / "runs"))
    storage = open_storage(study.storage)
    storage.write_study("tiny", stored_text(study, storage))
    found = in_process("sync", *words, "--storage", tmp_path / "runs")
    assert found.returncode == 0 and "127.0.0.1:9/db" in found.stdout and CANARY not in found.stdout
    say_who_runs_it(study, None, ADDRESSES["database"], bool(words))
