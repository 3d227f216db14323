"""STUDY is a file or a name, for every verb alike; a folder of that name is in nobody's way."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import in_process

from wsss.config import load_study
from wsss.pipeline.past.stored_studies import find_study, stored_text
from wsss.store.storage import open_storage


@pytest.fixture
def place(tmp_path: Path, tiny_study_text: str) -> Path:
    """A folder with a study file, folders and a file of the names of studies, and the studies in `runs`."""
    (tmp_path / "photos.yaml").write_text(tiny_study_text.replace("name: tiny", "name: photos"))
    (tmp_path / "photos").mkdir()
    (tmp_path / "exp.1").mkdir()
    for name in ("photos", "exp.1", "exp.2"):
        study = load_study(tmp_path / "photos.yaml", name=name, storage=str(tmp_path / "runs"))
        storage = open_storage(tmp_path / "runs")
        storage.write_study(name, stored_text(study, storage))
    return tmp_path


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path]]:
    """What `run` and `resume` would run: names and storages."""
    from wsss.cli import run

    found: list[tuple[str, Path]] = []
    monkeypatch.setattr(
        run, "execute", lambda study, **options: found.append((study.name, Path(study.storage)))
    )
    return found


@pytest.mark.parametrize("verb", ["run", "resume"])
@pytest.mark.parametrize(
    ("word", "name"),
    [("photos", "photos"), ("photos.yaml", "photos"), ("exp.1", "exp.1"), ("exp.2", "exp.2")],
)
def test_names_and_files(
    place: Path, executed: list[tuple[str, Path]], verb: str, word: str, name: str
) -> None:
    done = in_process(verb, word, "-s", "budget.hours=1", cwd=place)
    assert done.returncode == 0, done.stderr
    assert executed == [(name, place / "runs")]


def test_a_file_without_an_ending_is_a_file(place: Path, executed: list[tuple[str, Path]]) -> None:
    (place / "exp.2").write_text((place / "photos.yaml").read_text())
    assert in_process("run", "exp.2", cwd=place).returncode == 0
    assert executed == [("photos", place / "runs")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["resume", "phots"], "no study is named 'phots' (did you mean 'photos'?)"),
        (["resume", "missing.yaml"], "there is no such study file"),
        (["resume", "photos/"], "no study is named 'photos/'"),
        (["plan", "a/b"], "no study is named 'a/b'"),
        (["resume", "photos", "-s", "storage=/elsewhere"], "a stored study is where it was found"),
        (["run", "photos.yaml", "--name", "new.yaml"], "words with that ending are files"),
        (["run", "photos", "--name", "new.yml"], "words with that ending are files"),
        (["run", "photos.yaml", "--name", "a/b"], "the name of the study is 'a/b'"),
        (["plan", "photos", "-s", "data.dataset=voc", "-s", "data.root=gone"], "if the data were moved"),
        (["compare", "exp.3"], "no study is named 'exp.3'"),
        (
            ["compare", "photos", "--storage", "none"],
            "none: no study is named 'photos' (there is a file photos.yaml)",
        ),
        (["compare", "exp.1", "--storage", "none"], "no study is named 'exp.1' (there is no such folder"),
        (["compare", "--storage", "none"], "none: there is no such folder"),
        (["sync", "gone.yaml"], "there is no such study file"),
        (["mlflow", "gone.yaml"], "there is no such study file"),
        (["storage", "archive", "gone.yaml"], "there is no such study file"),
    ],
)
def test_what_is_neither_is_said(place: Path, words: list[str], message: str) -> None:
    done = in_process(*words, cwd=place)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr and "Traceback" not in done.stderr


def test_verbs_that_only_look_take_names_beside_folders_too(place: Path) -> None:
    for word in ("photos", "exp.1", "photos.yaml"):
        done = in_process("compare", word, "--format", "json", cwd=place)
        assert done.returncode == 0, done.stderr
    assert find_study("exp.1", place / "runs").name == "exp.1"
