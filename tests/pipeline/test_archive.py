"""An archive holds what tables are made of, and little else."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from command_line import in_process

from wsss.config.text.yaml_text import dump_yaml, parse_yaml
from wsss.errors import ConfigError
from wsss.files import parse_json, with_checksum, without_checksum
from wsss.pipeline.past.archive import write_archive
from wsss.store.folder_store import Store
from wsss.store.storage import open_storage


@pytest.fixture
def archive(finished_study: Path, tmp_path: Path) -> Path:
    file = tmp_path / "tiny.tar.xz"
    done = in_process("storage", "archive", "tiny", "--storage", finished_study / "runs", "-o", file)
    assert done.returncode == 0, done.stderr
    return file


def unpacked(file: Path, folder: Path) -> Path:
    with tarfile.open(file) as tar:
        tar.extractall(folder, filter="data")
    return folder / "runs"


@pytest.mark.parametrize(
    "form", [[], ["--errors"], ["--per-class"], ["--format", "csv"], ["--tuning"]], ids=str
)
def test_compare_prints_the_same_from_it(
    archive: Path, finished_study: Path, tmp_path: Path, form: list[str]
) -> None:
    mine = in_process("compare", "tiny", "--storage", finished_study / "runs", *form)
    theirs = in_process("compare", "tiny", "--storage", unpacked(archive, tmp_path), *form)
    assert mine.returncode == theirs.returncode == 0
    assert theirs.stdout == mine.stdout


def test_a_page_is_written_from_it(archive: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = in_process("report", "tiny", "--storage", unpacked(archive, tmp_path), "-o", page)
    assert done.returncode == 0, done.stderr
    assert "tiny" in page.read_text()


def test_neither_weights_nor_pictures_are_in_it(archive: Path, finished_study: Path, tmp_path: Path) -> None:
    folder = unpacked(archive, tmp_path)
    endings = {path.suffix for path in folder.rglob("*")}
    assert not endings & {".safetensors", ".png", ".npy", ".pt"}
    assert set(Store(folder / "store").keys()) == set(Store(finished_study / "runs" / "store").keys())
    records = {one.key: one for one in Store(finished_study / "runs" / "store")}
    for one in Store(folder / "store"):
        assert one.evicted == (one.stage != "scores")
        for name in ("params", "seconds", "seed", "inputs", "processor"):
            assert one.record[name] == records[one.key].record[name]


def test_without_curves_it_says_the_same_in_fewer_bytes(
    archive: Path, finished_study: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small.tar.xz"
    asked = ("tiny", "--storage", finished_study / "runs")
    done = in_process("storage", "archive", *asked, "--no-curves", "-o", small)
    assert done.returncode == 0, done.stderr
    folder = unpacked(small, tmp_path)
    assert [*unpacked(archive, tmp_path / "whole").rglob("curves.npz")] and not [*folder.rglob("curves.npz")]
    assert small.stat().st_size < archive.stat().st_size
    for form in ([], ["--errors"], ["--per-class", "--format", "csv"]):
        mine, theirs = (
            in_process("compare", "tiny", "--storage", storage, *form)
            for storage in (finished_study / "runs", folder)
        )
        assert theirs.returncode == 0 and theirs.stdout == mine.stdout
    rows = [
        json.loads(in_process("compare", "--storage", storage, "--tuning", "--format", "json").stdout)["rows"]
        for storage in (folder, tmp_path / "whole/runs")
    ]
    cams = [[row for row in part if row["step"] == "cams"] for part in rows]
    assert [row["best_of"] for row in cams[0]] == [row["best_of"] for row in cams[1]] != []
    assert not any(row["few_masks"] for row in cams[0]) and all(row["few_masks"] for row in cams[1])


def test_the_same_study_gives_the_same_bytes_whenever_it_is_packed(
    archive: Path, copied_study: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again.tar.xz"
    write_archive(open_storage(copied_study / "runs"), (), again)
    assert again.read_bytes() == archive.read_bytes()


def test_what_is_wrong_is_said(finished_study: Path, tmp_path: Path, archive: Path) -> None:
    storage = open_storage(finished_study / "runs")
    with pytest.raises(ConfigError, match=r"no study is named 'tinny'.*tiny"):
        write_archive(storage, ["tinny"], tmp_path / "new.tar.xz")
    with pytest.raises(ConfigError, match=r"must end in \.tar\.xz"):
        write_archive(storage, ["tiny"], tmp_path / "new.zip")
    with pytest.raises(ConfigError, match="is there already"):
        write_archive(storage, ["tiny"], archive)
    done = in_process(
        "storage", "archive", "--storage", finished_study / "runs", "-o", tmp_path / "no" / "new.tar.xz"
    )
    assert done.returncode == 3
    assert str(tmp_path / "no") in done.stderr
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".archive")]


def test_what_it_says_to_do_unpacks_beside_the_storage_and_not_over_it(
    copied_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The storage is named as the archive's folder is, and has files that the archive lacks."""
    monkeypatch.chdir(copied_study)
    before = {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()}
    done = in_process("storage", "archive", "tiny.yaml", "-o", "my tiny.tar.xz")
    assert done.returncode == 0, done.stderr
    unpack, _, rest = done.stdout.partition("To read it: ")[2].partition(", then `")
    subprocess.run(["bash", "-ec", unpack], check=True)
    assert {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()} == before
    compared = in_process(*shlex.split(rest.partition("`")[0]))
    assert compared.returncode == 0 and "baseline" in compared.stdout


def test_notes_that_are_no_text_are_left_out(copied_study: Path, tmp_path: Path) -> None:
    (copied_study / "runs/studies/tiny/data.json").write_bytes(b"\xff\xfe")
    write_archive(open_storage(copied_study / "runs"), ["tiny"], tmp_path / "a.tar.xz")
    assert not (unpacked(tmp_path / "a.tar.xz", tmp_path) / "studies/tiny/data.json").exists()


def test_it_says_neither_where_files_lay_nor_who_ran_the_study(finished_study: Path, tmp_path: Path) -> None:
    """The study lies in somebody's home, a trial failed there, and went to an MLflow of the laboratory."""
    home, runs = "/home/anna", Path(shutil.copytree(finished_study / "runs", tmp_path / "lab"))
    trials = open_storage(runs).ledger("tiny").trials().values()
    trained, failed = (next(one for one in trials if one.arm == arm) for arm in ("baseline", "fmix"))
    file = runs / "studies/tiny/study.yaml"
    raw = parse_yaml(file.read_text(), "study").value
    raw["data"] = {**raw["data"], "dataset": "voc", "root": f"{home}/data/VOC2012"}
    del raw["data"]["sample"]
    raw["tracking"]["uri"] = "https://mlflow.lab.example"
    classifier = raw["sweeps"][0]["arms"]["baseline"]["stages"][0]["classifier"]
    classifier["weights"] = "/lab/weights/lite0.pth"
    file.write_text(dump_yaml(raw))
    record = Store(runs / "store").folder(trained.keys["classifier"]) / "artefact.json"
    content = without_checksum(parse_json(record.read_text()))
    content["params"]["weights"] = classifier["weights"]
    record.write_text(json.dumps(with_checksum(content)))
    ledger = open_storage(runs).ledger("tiny")
    ledger.append("origin", user="anna", version="1", commit="", dirty=False, job="")
    error = f"{home}/data/VOC2012/a.jpg: is broken; see {runs}/x"
    ledger.append("end", id=failed.id, status="failed", metrics={}, error=error)
    mine = in_process("compare", "tiny", "--storage", runs)

    write_archive(open_storage(runs), ["tiny"], tmp_path / "a.tar.xz")
    theirs = unpacked(tmp_path / "a.tar.xz", tmp_path)
    told = b"".join(path.read_bytes() for path in theirs.rglob("*") if path.is_file())
    text = told.decode(errors="replace")
    assert not [word for word in ("anna", "/lab", "mlflow.lab", str(runs)) if word in text]
    assert "VOC2012/a.jpg: is broken; see runs/x" in text and "root: VOC2012" in text
    assert Store(theirs / "store").known(record.parent.name).record["params"]["weights"] == "lite0.pth"  # type: ignore[union-attr]
    again = in_process("compare", "tiny", "--storage", theirs)
    assert mine.returncode == again.returncode == 0
    assert again.stdout == mine.stdout.replace(home, "").replace("/data/", "")


@pytest.mark.parametrize("text", ["name: [tiny", "", "text of /home/anna"], ids=repr)
def test_a_damaged_study_file_is_kept_as_it_is(copied_study: Path, tmp_path: Path, text: str) -> None:
    folder = copied_study / "runs/studies/broken"
    folder.mkdir(exist_ok=True)
    (folder / "study.yaml").write_text(text)
    write_archive(open_storage(copied_study / "runs"), ["broken"], tmp_path / "a.tar.xz")
    stored = unpacked(tmp_path / "a.tar.xz", tmp_path) / "studies/broken/study.yaml"
    assert stored.read_text() == text.replace("/home/anna", "~")
