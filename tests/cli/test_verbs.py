"""The command line as a person uses it: run, plan, compare, storage, and what it says when it can't."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import in_process
from PIL import Image

from wsss.pipeline.forecasts.preflight import storage_checks

ROOT = Path(__file__).parents[2]


def wsss(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "launch.py"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


@pytest.fixture(scope="module")
def finished(copied_study: Path) -> Path:
    """A folder with a tiny study, and its storage `runs`, in which it was run once, locally."""
    return copied_study


@pytest.mark.long
def test_an_unchanged_study_computes_nothing_and_says_so_quickly(finished: Path) -> None:
    began = time.monotonic()
    run = wsss("run", finished / "tiny.yaml", "--storage", finished / "runs")
    assert run.returncode == 0, run.stderr
    assert "Nothing was computed: all" in run.stdout
    assert time.monotonic() - began < 60, "a whole Ray start fits in here, training does not"


def test_run_prints_json_for_programs(finished: Path) -> None:
    run = in_process("resume", "tiny", "--local", "--storage", finished / "runs", "--json")
    result = json.loads(run.stdout)
    assert result["computed"] == 0
    assert result["failed"] == []
    rows = result["comparison"]["rows"]
    assert [row["arm"] for row in rows] == ["baseline", "fmix"]
    for row in rows:
        for step in ("cams", "pseudo_masks"):
            assert (
                0
                <= row["cells"][step]["low"]
                <= row["cells"][step]["miou"]
                <= row["cells"][step]["high"]
                <= 1
            )


def test_plan_starts_nothing_and_knows_what_exists(finished: Path) -> None:
    before = sorted(finished.rglob("*"))
    done = json.loads(
        in_process("plan", finished / "tiny.yaml", "--storage", finished / "runs", "--json").stdout
    )
    assert sum(row["to_make"] for row in done["sweeps"]) == 0
    longer = in_process(
        "plan", finished / "tiny.yaml", "--storage", finished / "runs", "--name", "longer",
        "-s", "sweeps.cam.baseline.classifier.epochs=4", "-s", "allow=[unequal_tuning, {unequal_epochs: a longer one}]", "--json",
    )  # fmt: skip
    rows = {(row["sweep"], row["arm"], row["stage"]): row for row in json.loads(longer.stdout)["sweeps"]}
    assert rows["cam", "baseline", "classifier"]["to_make"] == 1
    assert rows["cam", "fmix", "classifier"]["in_storage"] == 2
    assert rows["cam", "baseline", "classifier"]["seconds"] > 0
    assert sorted(finished.rglob("*")) == before


def test_plan_looks_at_storage_and_tracking_and_at_the_cluster_of_the_environment(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wsss.pipeline.check import Check
    from wsss.tuning.executor import RayExecutor

    words = ("plan", finished / "tiny.yaml", "--storage", finished / "runs", "--json")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    rows = json.loads(in_process(*words).stdout)["checks"]
    assert [row["what"] for row in rows] == ["storage", "disk", "tracking"]
    asked: list[str | None] = []

    def look(self: RayExecutor, resources: object) -> list[Check]:
        asked.append(self.address)
        return [Check("nodes", "bad", "none is there")]

    monkeypatch.setattr(RayExecutor, "preflight", look)
    monkeypatch.setattr(
        "wsss.tuning.joining.reaching.check_named", lambda address, here=False: None
    )  # nobody is there
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    done = in_process(*words)
    assert done.returncode == 3
    assert [row["what"] for row in json.loads(done.stdout)["checks"]] == [
        "storage",
        "disk",
        "tracking",
        "nodes",
    ]
    assert in_process(*words, "--address", "10.0.0.2:6379").returncode == 3
    assert asked == ["10.0.0.1:6379", "10.0.0.2:6379"]


def test_compare_in_every_format_tells_the_same(finished: Path) -> None:
    def compare(*words: str) -> str:
        done = in_process("compare", "tiny", "--storage", finished / "runs", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    parsed = json.loads(compare("--format", "json"))
    expected = f"{100 * parsed['rows'][0]['cells']['cams']['miou']:.1f}"
    rows = list(csv.DictReader(io.StringIO(compare("--format", "csv"))))
    assert [row["arm"] for row in rows] == ["floor", "baseline", "fmix"]
    assert f"{100 * float(rows[1]['cam']):.1f}" == expected
    assert [row["cam"] for row in parsed["table"]] == pytest.approx(
        [float(row["cam"]) for row in rows], abs=1e-6
    )
    for format_ in ("table", "markdown", "latex", "html"):
        assert expected in compare("--format", format_)
    per_class = list(csv.DictReader(io.StringIO(compare("--format", "csv", "--per-class"))))
    assert len(per_class) == 2 * 2 and {"step", "background"} <= set(per_class[0])


def test_compare_names_initial_weights_and_holds_drawn_photos_against_no_paper(finished: Path) -> None:
    def compare(*words: str) -> str:
        done = in_process("compare", "tiny", "--storage", finished / "runs", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    rows = list(csv.DictReader(io.StringIO(compare("--format", "csv"))))
    assert {row["initial_weights"] for row in rows[1:]} == {"efficientnet_lite0 from imagenet (package)"}
    assert "from imagenet (package), for all rows." in compare()
    text = compare("--published")
    assert "The protocols differ: its data is the drawn sample set, not PASCAL VOC (study tiny)." in text
    assert "AffinityNet" in text and "61.7" in text
    published = list(csv.DictReader(io.StringIO(compare("--published", "--format", "csv"))))
    assert not [row for row in published if row["source"].startswith("this storage")]
    wrong = in_process("compare", "tiny", "--storage", finished / "runs", "--published", "--errors")
    assert wrong.returncode == 2
    assert "only one of them can be shown at a time" in wrong.stderr


def test_compare_names_the_nearest_study_and_arm(finished: Path) -> None:
    wrong = in_process("compare", "tini", "--storage", finished / "runs")
    assert wrong.returncode == 2
    assert "no study is named 'tini' (did you mean 'tiny'?)" in wrong.stderr
    wrong = in_process("compare", "tiny", "--baseline", "base", "--storage", finished / "runs")
    assert wrong.returncode == 2
    assert "did you mean 'baseline'?" in wrong.stderr


def test_changed_content_under_the_same_name_is_refused_with_the_difference(finished: Path) -> None:
    done = in_process(
        "run", finished / "tiny.yaml", "--storage", finished / "runs", "-s", "seed=1", "--local"
    )
    assert done.returncode == 2
    assert "give this one its own with --name NAME" in done.stderr
    assert "-seed: 0" in done.stderr
    assert "+seed: 1" in done.stderr


def test_storage_lists_artefacts_and_prunes_only_what_nobody_kept(finished: Path) -> None:
    listed = json.loads(in_process("storage", "ls", "--storage", finished / "runs", "--json").stdout)
    assert {entry["stage"] for entry in listed} == {"classifier", "cams", "scores", "pseudo_masks"}
    assert all(entry["studies"] == ["tiny"] for entry in listed)
    evicted = [entry for entry in listed if entry["evicted"]]
    assert sorted(entry["stage"] for entry in evicted) == ["cams", "classifier"], "of the worse FMix trial"
    dry = in_process("storage", "prune", "--dry-run", "--storage", finished / "runs")
    assert "0 B  would be freed" in dry.stdout


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["run", "quikstart.yaml"], 2, "there is no such study file"),
        (["run", "{study}", "-s", "sweeps.cam.fmix.classifier.epocs=1"], 2, "did you mean 'epochs'?"),
        (["run", "{study}", "--local", "-s", "sweeps.cam.resources.gpu=1"], 3, "a trial asks for 1 GPU, but this machine has 0"),
        (["run", "{study}", "--local", "-s", "sweeps.cam.resources.cpu=999"], 3, "a trial asks for 999 CPUs"),
        (["run", "{study}", "-s", "data.dataset=voc"], 2, "data.root: is missing"),
        (["run", "{study}", "-s", "data.dataset=voc", "-s", "data.root=/nowhere"], 2, "/nowhere"),
        (["run", "{study}", "--storage", "/proc/none"], 3, "/proc/none: can't be written"),
        (["resume", "unknown"], 2, "no study is named 'unknown'"),
        (["run", "{study}", "-s", "tracking.uri=./mlruns", "--local"], 3, "MLflow no longer writes to folders"),
        (["run", "{study}", "--storage", ""], 2, "--storage: is empty (give a folder or s3://bucket/prefix"),
        (["compare", "--storage", " "], 2, "--storage: is empty"),
        (["run", "{study}", "--name", ""], 2, "--name: is empty"),
        (["run", "{study}", "--local", "--address", "auto"], 2, "--address: is a cluster, but --local runs in this process"),
        (["data", "check", "/nowhere"], 2, "/nowhere"),
        (["data", "check", "{study}"], 2, "is a file, but must be a folder"),
        (["run", "{study}", "--local", "-s", "data.dataset=voc", "-s", "data.root={study}"], 2, "a file, but must be the folder of the photos"),
        (["label", ".", "-o", "{study}/masks"], 2, "is a file, but must be a folder"),
        (["predict", "a.jpg", "--model", "x", "-o", "{study}/masks"], 2, "is a file, but must be a folder"),
        (["data", "fetch", "x", "--from", "http://[::1"], 2, "--from: is 'http://[::1', but must be an address"),
        (["data", "fetch", "x", "--from", "file:///x.tar"], 2, "--from: is 'file:///x.tar', but must be an address"),
        (["storage", "ls", "--storage", "nowhere"], 2, "nowhere, but there is no such folder"),
        (["storage", "prune", "--storage", "nowhere"], 2, "nowhere, but there is no such folder"),
        (["plan", "{study}", "--address", "host:99999"], 2, "--address: is 'host:99999', whose port must be from 1 to 65535"),
        (["run", "{study}", "--address", ""], 2, "--address: is empty (give HOST:PORT"),
        (["plan", "{study}", "--address", "ray://[x"], 2, "--address: is 'ray://[x', which is no address"),
        (["plan", "{study}", "--address", "ray://u:pass@h:1"], 2, "set RAY_AUTH_MODE to token, and RAY_AUTH_TOKEN"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_anything_starts(
    words: list[str], code: int, message: str, tiny_study: Path, tmp_path: Path
) -> None:
    done = in_process(*[word.format(study=tiny_study) for word in words], cwd=tmp_path)
    assert done.returncode == code, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "runs" / "store").glob("??"))


def test_a_storage_that_is_a_file_is_bad_in_a_plan_too(tiny_study: Path) -> None:
    for place in (tiny_study, tiny_study / "below"):
        (check,) = storage_checks(place, None)
        assert check.state == "bad" and check.found == f"{tiny_study} is no folder"


def test_a_corrupt_photo_is_found_before_anything_starts(tiny_study: Path, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    assert in_process("data", "sample", root, "--train", 20, "--val", 4, "--size", 64).returncode == 0
    assert in_process("data", "check", root).returncode == 0
    other = in_process("data", "check", root, "--labels", "x.csv", "--masks", "y")
    assert other.returncode == 2 and "--labels: is for folders of photos" in other.stderr
    assert "--masks: is for folders of photos" in other.stderr
    photos = sorted((root / "JPEGImages").glob("*.jpg"))
    photos[3].write_bytes(photos[3].read_bytes()[:400])
    photos[5].unlink()
    mask = root / "SegmentationClass" / f"{photos[7].stem}.png"
    Image.open(mask).resize((20, 20)).save(mask)
    done = in_process(
        "run", tiny_study, "--local", "--storage", tmp_path / "runs",
        "-s", "data.dataset=voc", "-s", f"data.root={root}", "-s", "data.sample=null",
    )  # fmt: skip
    assert done.returncode == 2
    for broken in (photos[3].name, photos[5].name, mask.name):
        assert broken in done.stderr, "all problems at once"
    assert not (tmp_path / "runs" / "store").exists()
    check = in_process("data", "check", root)
    assert check.returncode == 2
    assert check.stdout.count(photos[3].name) >= 1


def cpu_seconds() -> float:
    """Return what ended children of this process have used: other work on the machine hardly changes it."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_answers_within_a_second() -> None:
    times = []
    for _ in range(3):
        began = cpu_seconds()
        assert "run" in wsss("--help").stdout
        times.append(cpu_seconds() - began)
    modules = "import sys, wsss.cli.app; print({'torch', 'ray', 'mlflow'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", modules], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
    assert min(times) < 2, f"{times} CPU seconds: 0.5 on a quiet machine"


def test_doctor_looks_at_everything(tmp_path: Path) -> None:
    done = wsss("doctor", "--json", "--storage", tmp_path)
    findings = {entry["what"]: entry for entry in json.loads(done.stdout)}
    assert done.returncode == 0, findings
    assert {"torch", "ray", "mlflow", "dense CRF", "packaged weights", "GPU", "storage"} <= set(findings)


def test_doctor_measures_speed_when_it_is_asked_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wsss.pipeline.speed import settings

    real = settings.short_settings
    tiny = {"crop": 32, "batch": 2, "images": 4, "photo": 64, "rounds": 1, "scales": (1.0,)}
    monkeypatch.setattr(settings, "short_settings", lambda *given: dataclasses.replace(real(*given), **tiny))
    done = in_process("doctor", "--gpu", "--json", "--storage", tmp_path)
    findings = {entry["what"]: entry for entry in json.loads(done.stdout)}
    assert done.returncode == 0, findings
    assert {"classifier step", "CAMs", "features", "walk", "segmenter step"} <= set(findings)
    assert "on the CPU, as there is no GPU" in findings["speed"]["detail"]
    assert "of an epoch is outside of the network" in findings["limit"]["detail"]
    assert done.stderr.count("measuring: ") == 6
    monkeypatch.setattr(settings, "opened", lambda *given: 1 / 0)
    monkeypatch.setattr("wsss.pipeline.speed.measure.opened", lambda *given: 1 / 0)
    failed = in_process("doctor", "--gpu", "--json", "--storage", tmp_path)
    assert (
        failed.returncode == 3 and "ZeroDivisionError" in failed.stdout and "Traceback" not in failed.stderr
    )
