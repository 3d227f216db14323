"""What is sent to a cluster, and what is refused before it is."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from command_line import in_process

from wsss.config import load_study
from wsss.errors import ConfigError, PreflightError
from wsss.pipeline.past.stored_studies import stored_text
from wsss.store.storage import open_storage
from wsss.tuning import submit
from wsss.tuning.joining import following


@pytest.fixture
def folder(tmp_path: Path, tiny_study_text: str) -> Path:
    """A working directory with a launcher and a study in it."""
    place = tmp_path / "my code"
    (place / "studies").mkdir(parents=True)
    (place / "launch.py").write_text("")
    (place / "studies/tiny.yaml").write_text(tiny_study_text)
    return place


def plan(folder: Path, *overrides: str, study: str = "studies/tiny.yaml", **options: Any) -> submit.JobPlan:
    return submit.plan_job(str(folder / study), overrides=overrides, working_dir=folder, **options)


def test_the_entry_point_is_one_line_of_quoted_words(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    job = plan(folder, "seed=3", "name=a-b", storage="/shared/my runs", smoke=True)
    assert shlex.split(job.entrypoint) == [
        *("python", "launch.py", "run", "studies/tiny.yaml", "-s", "seed=3", "-s", "name=a-b"),
        *("--storage", "/shared/my runs", "--smoke"),
    ]
    assert job.working_dir == folder
    assert job.environment["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    assert job.environment["RAY_USAGE_STATS_ENABLED"] == "0"
    assert "secret" not in str(job.environment)


def test_what_looks_like_shell_stays_a_word(folder: Path) -> None:
    job = plan(folder, "sweeps.cam.fmix.search.alpha={choice: [1, 2]}", storage="/shared/$(id)")
    words = shlex.split(job.entrypoint)
    assert "/shared/$(id)" in words and "sweeps.cam.fmix.search.alpha={choice: [1, 2]}" in words
    assert "'/shared/$(id)'" in job.entrypoint


def test_a_storage_in_the_study_is_as_good_as_one_on_the_command_line(folder: Path) -> None:
    assert "--storage /shared/runs" in plan(folder, "storage=/shared/runs").entrypoint
    file = folder / "studies/tiny.yaml"
    file.write_text(file.read_text() + "storage: /shared/other\n")
    assert "--storage /shared/other" in plan(folder).entrypoint


def test_a_study_that_a_shared_storage_has_is_sent_by_its_name(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = load_study(folder / "studies/tiny.yaml", storage=str(tmp_path / "shared"), name="exp.1")
    storage = open_storage(tmp_path / "shared")
    storage.write_study("exp.1", stored_text(stored, storage))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exp.1").mkdir()
    words = {"storage": str(tmp_path / "shared"), "working_dir": folder}
    job = submit.plan_job("exp.1", overrides=["seed=3"], **words)
    assert shlex.split(job.entrypoint) == [
        *("python", "launch.py", "run", "exp.1", "-s", "seed=3", "--storage", str(tmp_path / "shared"))
    ]
    with pytest.raises(ConfigError, match="no study is named 'exp'"):
        submit.plan_job("exp", **words)
    shutil.move(tmp_path / "shared", folder / "runs")
    with pytest.raises(ConfigError, match="would be lost"):
        submit.plan_job("exp.1", storage=str(folder / "runs"), working_dir=folder)


@pytest.mark.parametrize("storage", [None, "runs", "{folder}/runs"])
def test_a_storage_that_goes_with_the_job_is_refused(folder: Path, storage: str | None) -> None:
    with pytest.raises(ConfigError, match="would be lost: a job's folder is deleted with it"):
        plan(folder, storage=storage and storage.format(folder=folder))


@pytest.mark.parametrize(
    ("storage", "uri"),
    [
        ("s3://bucket/runs", None),
        ("s3://bucket/runs", "sqlite:///mlflow.db"),
        ("/shared/runs", "sqlite:///{folder}/mlflow.db"),
    ],
)
def test_a_database_that_goes_with_the_job_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, storage: str, uri: str | None
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    overrides = [f"tracking.uri={uri.format(folder=folder)}"] if uri else []
    with pytest.raises(ConfigError, match=r"tracking\.uri: .*would be lost") as caught:
        plan(folder, *overrides, storage=storage)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("uri", ["http://mlflow:5000", "sqlite:////shared/mlflow.db"])
def test_a_database_elsewhere_is_taken(folder: Path, monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert f"tracking.uri={uri}" in plan(folder, f"tracking.uri={uri}", storage="s3://bucket/runs").entrypoint
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert plan(folder, storage="s3://bucket/runs").environment["MLFLOW_TRACKING_URI"] == uri
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert plan(folder, storage="/shared/runs"), "beside the storage"


def test_where_one_stands_says_nothing_of_a_database_with_an_absolute_path(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    assert plan(folder, f"tracking.uri={uri}", storage="/shared/runs")
    with pytest.raises(ConfigError, match="would be lost"):
        plan(folder, "tracking.uri=sqlite:///mlflow.db", storage="/shared/runs")


def test_all_that_a_job_could_not_use_is_told_at_once(folder: Path, tmp_path: Path) -> None:
    (folder / "launch.py").unlink()
    outside = tmp_path / "outside.yaml"
    outside.write_text((folder / "studies/tiny.yaml").read_text())
    with pytest.raises(ConfigError) as caught:
        plan(folder, "data.dataset=voc", "data.sample=null", f"data.root={folder}/voc", study=str(outside))
    text = str(caught.value)
    for part in (
        "has no launch.py",
        "outside of the working directory",
        "would be lost",
        "is in the folder of the job",
    ):
        assert part in text
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        plan(folder, "sweeps.cam.fmix.classifier.epocs=1", storage="/shared")


class Client:
    """A job server that takes what it is given."""

    sent: list[dict[str, Any]] = []

    def __init__(self, address: str) -> None:
        if "nowhere" in address:
            raise ConnectionError("Failed to connect to Ray at address: nowhere")

    def submit_job(self, **job: Any) -> str:
        self.sent.append(job)
        return "raysubmit_1"

    async def tail_job_logs(self, number: str) -> AsyncIterator[str]:
        for line in ("study tiny\n", "done\n"):
            yield line

    ended = SimpleNamespace(status="SUCCEEDED", driver_exit_code=0)

    def get_job_info(self, number: str) -> SimpleNamespace:
        return self.ended


@pytest.fixture
def _answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dashboard is there, and takes the token."""
    monkeypatch.setattr(submit, "check_dashboard", lambda address: None)
    monkeypatch.setattr(submit, "JobSubmissionClient", Client)
    monkeypatch.setattr(following, "JobSubmissionClient", Client)


@pytest.mark.usefixtures("_answers")
def test_the_command_line_says_how_to_follow(folder: Path) -> None:
    words = ("cluster", "submit", "studies/tiny.yaml", "--storage", "/shared/runs")
    left = in_process(*words, cwd=folder)
    assert left.returncode == 0, left.stderr
    assert "ray job logs raysubmit_1 --address http://localhost:8265 --follow" in left.stdout
    done = in_process(*words, "--follow", cwd=folder)
    assert (done.returncode, done.stdout) == (0, "study tiny\ndone\n"), done.stderr
    assert Client.sent[-1]["runtime_env"]["working_dir"] == str(folder)
    away = in_process(*words, "--address", "http://nowhere:8265", cwd=folder)
    assert away.returncode == 3
    assert "http://nowhere:8265: did not take the job" in away.stderr and "ray dashboard" in away.stderr


def test_an_unreachable_cluster_is_the_environments_fault() -> None:
    job = submit.JobPlan("python launch.py", Path("/nowhere"), {})
    with pytest.raises(PreflightError, match="did not take the job"):
        submit.submit_job(job, "http://127.0.0.1:9")


@pytest.mark.usefixtures("_answers")
def test_a_cluster_that_has_just_started_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = ["No available agent to submit job, please try again later."] * 2

    class Late(Client):
        def submit_job(self, **job: Any) -> str:
            if refusals:
                raise RuntimeError(refusals.pop())
            return "raysubmit_2"

    monkeypatch.setattr(submit, "JobSubmissionClient", Late)
    monkeypatch.setattr(submit.time, "sleep", lambda seconds: None)
    job = submit.JobPlan("python launch.py", Path("/somewhere"), {})
    assert submit.submit_job(job, "http://localhost:8265") == "raysubmit_2"
    refusals.append("No available agent")
    with pytest.raises(PreflightError, match="No available agent"):
        submit.submit_job(job, "http://localhost:8265", patience=0)


@pytest.mark.parametrize(
    ("verb", "expected"),
    [
        ("run", "run studies/tiny.yaml -s seed=3 --storage /shared/runs --name other"),
        ("plan", "plan studies/tiny.yaml -s seed=3 --storage /shared/runs --name other"),
        ("check", "cluster check studies/tiny.yaml -s seed=3 --storage /shared/runs --name other"),
        ("resume", "resume other -s seed=3 --storage /shared/runs"),
        ("compare", "compare other --storage /shared/runs"),
        ("report", "report other -o /shared/runs/studies/other/report.html --storage /shared/runs"),
        ("sync", "sync other --storage /shared/runs"),
    ],
)
def test_every_verb_is_a_job(folder: Path, verb: str, expected: str) -> None:
    job = plan(folder, "seed=3", storage="/shared/runs", name="other", verb=submit.Verb(verb))
    assert job.entrypoint == f"python launch.py {expected}"
    assert job.environment["PYTHONUNBUFFERED"] == "1"


def test_a_smoke_run_is_compared_under_its_own_name(folder: Path) -> None:
    job = plan(folder, storage="/shared/runs", smoke=True, verb=submit.Verb.compare)
    assert job.entrypoint == "python launch.py compare tiny-smoke --storage /shared/runs"


@pytest.mark.parametrize(
    ("verb", "expected"),
    [
        ("compare", "compare exp --storage {place}"),
        ("report", "report exp -o {place}/studies/exp/report.html --storage {place}"),
        ("resume", "resume exp -s seed=3 --storage {place}"),
        ("run", "run exp -s seed=3 --storage {place}"),
    ],
)
def test_a_storage_that_the_laptop_lacks_is_looked_at_by_the_job(
    folder: Path, tmp_path: Path, verb: str, expected: str
) -> None:
    """The documentation's `cluster submit voc --verb compare --storage /shared/runs`, without `/shared`."""
    place = str(tmp_path / "not here/runs")
    job = submit.plan_job(
        "exp", verb=submit.Verb(verb), overrides=["seed=3"], storage=place, working_dir=folder
    )
    assert job.entrypoint == f"python launch.py {expected}".replace(
        "{place}/studies/exp/report.html", f"'{place}/studies/exp/report.html'"
    ).replace("{place}", f"'{place}'")
    for storage in (None, "runs"):
        with pytest.raises(ConfigError, match="no study is named 'exp'"):
            submit.plan_job("exp", storage=storage, working_dir=folder)


@pytest.mark.usefixtures("_answers")
@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [("SUCCEEDED", 0, 0), ("FAILED", 3, 3), ("FAILED", 2, 2), ("FAILED", None, 1), ("STOPPED", None, 130)],
)
def test_a_job_that_is_followed_ends_with_its_own_exit_code(
    folder: Path, monkeypatch: pytest.MonkeyPatch, status: str, code: int | None, expected: int
) -> None:
    monkeypatch.setattr(Client, "ended", SimpleNamespace(status=status, driver_exit_code=code))
    words = ("cluster", "submit", "studies/tiny.yaml", "--verb", "run", "--storage", "/shared/runs")
    done = in_process(*words, cwd=folder)
    assert (done.returncode, done.stdout) == (expected, "study tiny\ndone\n")


def test_a_verb_that_no_job_does_is_named_with_the_nearest(folder: Path) -> None:
    words = ("cluster", "submit", "studies/tiny.yaml", "--verb", "comparе", "--storage", "/shared/runs")
    done = in_process(*words, cwd=folder)
    assert done.returncode == 2 and "did you mean 'compare'" in done.stderr


def test_a_page_that_a_bucket_cannot_hold_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    with pytest.raises(ConfigError, match=r"report: the page would be lost.*report tiny --storage s3://b/r"):
        plan(folder, storage="s3://b/r", verb=submit.Verb.report)
