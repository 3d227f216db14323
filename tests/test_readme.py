"""What the README tells people to do can be done."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from wsss.config import load_study_text

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"^(?:<!-- command: (\w+) -->\n)?```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [match.groups() for match in BLOCK.finditer(TEXT)]
COMMANDS = {name: body.strip() for name, _, body in BLOCKS if name}


def test_the_two_commands_are_marked_once_each_and_are_one_line() -> None:
    assert sorted(name for name, _, _ in BLOCKS if name) == ["main", "tests"]
    assert all("\n" not in command and "-c constraints.txt -e" in command for command in COMMANDS.values())


def test_the_main_command_runs_the_quickstart() -> None:
    assert COMMANDS["main"].endswith(".venv/bin/python launch.py run tune_configs/quickstart.yaml")


def test_the_tests_command_runs_all_tests() -> None:
    assert COMMANDS["tests"].endswith("&& .venv/bin/pytest -n auto")


@pytest.mark.parametrize("name", ["main", "tests"])
def test_a_command_names_files_that_exist(name: str) -> None:
    words = shlex.split(COMMANDS[name])
    files = [word for word in words if re.fullmatch(r"(?!\.venv)[\w/]+\.(py|txt|yaml)", word)]
    assert files
    assert all((ROOT / file).is_file() for file in files)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", TEXT))))
def test_pictures_and_links_lead_somewhere(target: str) -> None:
    assert (ROOT / target).is_file()


def test_every_page_is_reached_from_the_readme_and_every_link_leads_somewhere() -> None:
    pages, found = [ROOT / "README.md"], set()
    while pages:
        page = pages.pop()
        found.add(page)
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            linked = (page.parent / target).resolve()
            assert linked.is_file(), f"{page} links to {target}"
            if linked.suffix == ".md" and linked not in found:
                pages.append(linked)
    assert found >= set((ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize("file", sorted(set(re.findall(r"tune_configs/\w+\.yaml", TEXT))))
def test_a_study_it_names_exists(file: str) -> None:
    assert (ROOT / file).is_file()


def test_it_is_read_in_one_sitting() -> None:
    assert len(TEXT.splitlines()) < 150


def test_the_study_it_shows_is_a_study() -> None:
    shown = [body for _, language, body in BLOCKS if language == "yaml"]
    assert len(shown) == 1
    study = load_study_text(shown[0], source="README.md", base=Path("/data"))
    assert [sweep.name for sweep in study.sweeps] == ["cam", "masks"]


def test_it_tells_of_every_verb_and_of_none_that_is_missing() -> None:
    from wsss.cli.app import app

    verbs = {command.name for command in app.registered_commands}
    groups = {group.name: group.typer_instance for group in app.registered_groups}
    for name, group in groups.items():
        verbs |= {f"{name} {command.name}" for command in group.registered_commands}
    section = (ROOT / "docs" / "verbs.md").read_text()
    told = set()
    for line in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE):
        first = re.match(r"`([a-z]+(?: [a-z]+)?)", line)
        assert first is not None
        told.add(first[1])
        told |= {f"{first[1].split()[0]} {other}" for other in re.findall(r"/ `([a-z]+)`", line)}
    assert told == verbs


def test_the_files_that_the_architecture_page_names_exist() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`((?:\w+/)+[\w*]+\.\w+)`", page))
    assert len(named) > 10
    for name in sorted(named):
        assert [*ROOT.glob(name), *(ROOT / "wsss").glob(name)], name


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda page: page.name
)
def test_no_placeholder_is_left_in_a_page(page: Path) -> None:
    assert not re.search(r"@@\w+@@|TODO|FIXME|XXX", page.read_text())
