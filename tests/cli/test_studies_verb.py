"""The study files that come along: listed with their questions, copied and never over another file."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from command_line import in_process

from wsss.config import load_study

ROOT = Path(__file__).parents[2]


def test_every_study_is_listed_with_its_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    listed = in_process("studies", "list")
    questions = json.loads(in_process("studies", "list", "--json").stdout)
    assert set(questions) == {path.stem for path in (ROOT / "tune_configs").glob("*.yaml")}
    assert all(question.endswith("?") for question in questions.values()), "the first line asks something"
    assert max(map(len, listed.stdout.splitlines())) <= 80
    assert {line.split()[0] for line in listed.stdout.splitlines() if line[0] != " "} == set(questions)


@pytest.mark.parametrize(
    ("to", "made"), [([], "quickstart.yaml"), (["my.yml"], "my.yml"), (["."], "quickstart.yaml")]
)
def test_a_copy_is_the_file_itself(tmp_path: Path, to: list[str], made: str) -> None:
    assert in_process("studies", "copy", "quickstart", *to, cwd=tmp_path).returncode == 0
    assert (tmp_path / made).read_bytes() == (ROOT / "tune_configs/quickstart.yaml").read_bytes()
    assert load_study(tmp_path / made).name == "quickstart"


def test_a_file_that_is_there_stays_and_a_name_that_is_wrong_has_a_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").write_text("mine")
    there = in_process("studies", "copy", "quickstart", cwd=tmp_path)
    assert there.returncode == 2 and "is there already" in there.stderr
    assert (tmp_path / "quickstart.yaml").read_text() == "mine"
    wrong = in_process("studies", "copy", "../quickstar", cwd=tmp_path)
    assert wrong.returncode == 2 and "'quickstart'" in wrong.stderr
    text = in_process("studies", "copy", "quickstart", "q.txt", cwd=tmp_path)
    assert text.returncode == 2 and "ends in .yaml" in text.stderr
    away = in_process("studies", "copy", "quickstart", "no/q.yaml", cwd=tmp_path)
    assert away.returncode in (2, 3) and away.stderr.startswith("error: no/q.yaml: ")


def test_the_wheel_holds_them_where_an_installed_package_finds_them(tmp_path: Path) -> None:
    """Installed without its dependencies, beside this environment's: no checkout is near."""
    words = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation"]
    source = tmp_path / "source"
    source.mkdir()
    for name in (
        "wsss",
        "tune_configs",
        "pyproject.toml",
        "README.md",
        "LICENSE",
    ):  # a build writes beside them
        (source / name).symlink_to(ROOT / name)
    subprocess.run([*words, "wheel", *options, "--wheel-dir", tmp_path, source], check=True, timeout=200)
    (wheel,) = tmp_path.glob("wsss-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert sum(name.endswith(".yaml") and "tune_configs" in name for name in names) >= 10
    assert "wsss/py.typed" in names
    subprocess.run(
        [*words, "install", "--ignore-installed", "--no-deps", "--prefix", tmp_path / "there", wheel],
        check=True,
        timeout=200,
    )
    (site,) = (tmp_path / "there").rglob("site-packages")
    code = f"import sys; sys.path.insert(0, {str(site)!r}); from wsss.cli.studies import shipped; print(*shipped())"
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    found = [Path(path) for path in out.stdout.split()]
    assert {path.name for path in found} == {path.name for path in (ROOT / "tune_configs").glob("*.yaml")}
    assert all(path.is_relative_to(tmp_path) for path in found)
