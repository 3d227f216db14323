"""Foreign programs that can't start are named before the first trial."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import in_process

from wsss.pipeline.forecasts.programs import program_checks
from wsss.stages.programs.readiness import Found, Needs, look

STUDY = """\
name: foreign
data: {dataset: sample, sample: {train: 6, val: 4, size: 64}, select: {split: train, half: a}, report: {split: train, half: b}}
sweeps:
  - name: files
    stages: [command: {as: theirs, makes: files, run: RUN, folder: code, supervision: [image], environment: {ENVIRONMENT}}]
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/a file.py").write_text("print(1)\n")
    return tmp_path / "code"


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_an_interpreter_is_started_only_where_that_is_allowed(code: Path) -> None:
    note = code.parent / "note"
    python = script(code.parent / "python", f'touch {note}; exec {sys.executable} "$@"')
    need = Needs(str(code), python, "", ("python", "a file.py"))
    assert look(need, start=False).wrong == "" and not note.exists()
    found = look(need, start=True)
    assert note.exists() and not found.wrong and found.python.startswith("3.")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo no libpython >&2; exit 127", "it ends with code 127, no libpython"),
        ("exit 0", "it ends with code 0, it writes nothing"),
        ("head -c 3000000 /dev/urandom", "doesn't start as Python does"),
        ("kill -9 $$", "it ends with code -9"),
    ],
)
def test_what_does_not_start_as_python_is_wrong(code: Path, text: str, said: str) -> None:
    found = look(Needs(str(code), script(code.parent / "python", text)), start=True)
    assert said in found.wrong and len(found.wrong) < 1000


def test_what_is_missing_is_named(code: Path) -> None:
    here = Needs(str(code))
    assert "there is no such folder" in look(Needs(f"{code}x"), start=False).wrong
    assert "can't be run on" in look(replace(here, python="/nowhere/python"), start=False).wrong
    assert "no environment 'toko' here" in look(replace(here, conda="toko"), start=False).wrong
    assert f"no train.py in {code}" in look(replace(here, words=("python", "train.py")), start=False).wrong
    assert "no program nowhere in" in look(replace(here, words=("nowhere", "x")), start=False).wrong
    assert "a file.py isn't executable" in look(replace(here, words=("./a file.py",)), start=False).wrong
    for words in (
        ("sh", "x"),
        ("python", "-c"),
        ("{work}/x",),
        ("$program", "x"),
        ("python", "{data.root}/x.py"),
    ):
        assert not look(replace(here, words=words), start=False).wrong


def test_every_machine_must_have_the_drivers_code() -> None:
    need = {"cam, theirs": Needs("/src")}
    own = [Found("abcdefgh", "1234567890")]
    other = Found("xyz", "1234567890", changes=1, python="3.11.2")
    same = replace(own[0], python="3.11.2")
    (row,) = program_checks(need, {"one": [same], "two": [same]}, own)
    assert (
        row.state == "ok" and row.found == "cam, theirs: /src with commit 1234567, Python 3.11.2 everywhere"
    )
    (row,) = program_checks(need, {"one": [same], "two": [other]}, own)
    assert row.state == "bad" and row.found == (
        "cam, theirs: on two, /src has commit 1234567 and 1 changed file, the driver's commit 1234567"
    )


def test_run_and_plan_refuse_it_before_any_trial(code: Path) -> None:
    text = STUDY.replace("RUN", "[python, 'a file.py', '{out}']")
    (code.parent / "s.yaml").write_text(text.replace("ENVIRONMENT", "python: env/bin/python"))
    for words in (("run", "s.yaml", "--local", "--allow-commands"), ("plan", "s.yaml")):
        done = in_process(*words, "--storage", "runs", cwd=code.parent)
        assert done.returncode == 3 and "Traceback" not in done.stderr
        said = " ".join((done.stdout + done.stderr).replace("\n", " ").split())
        assert "files, theirs: environment.python: " in said and "can't be run on" in said
    assert not list((code.parent / "runs").rglob("program.log"))
