"""docs/faults.md promises nothing that no test proves, and no test of faults is left out."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


PROMISED = {
    "a trial's worker": "a trial's process is killed",
    "a raylet": "a node's raylet alone dies",
    "a node": "a node dies",
    "the driver": "the driver is killed",
    "the head": "the head of the cluster is lost",
    "the network": "a node is cut off from the network",
    "a storage that can't be written": "it can't be written from the start",
    "a storage that is full or read-only while a study runs": "the storage is full or read-only",
    "a loss of NaN": "a loss is not finite",
    "a corrupt artefact": "a byte of an artefact has changed",
    "a corrupt partial artefact": "a checkpoint is damaged",
    "the ledger's tail": "the ledger's tail is cut",
    "an exception in a trial": "an exception in a trial",
    "a tracking server that is gone": "the tracking server is away",
}
"""What a study has to survive, and how its line begins."""


def faults() -> list[str]:
    """Return the first column of the table."""
    text = (ROOT / "docs/faults.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    return [row.split("|")[1].strip() for row in rows[1:]]


def test_every_fault_that_a_study_has_to_survive_has_a_line() -> None:
    missing = [what for what, begins in PROMISED.items() if not any(f.startswith(begins) for f in faults())]
    assert not missing


def defined(folder: Path) -> set[str]:
    return {
        name
        for path in folder.rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.M)
    }


def test_every_line_of_the_table_names_tests_that_exist() -> None:
    rows = [line for line in (ROOT / "docs/faults.md").read_text().splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 18
    known = defined(ROOT / "tests")
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row.rstrip("|").rpartition("|")[2])
        assert named, f"no test: {row}"
        assert set(named) <= known, f"no such test: {set(named) - known}"


def test_every_test_of_a_fault_is_in_the_table() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/faults.md").read_text()))
    own = {
        name
        for path in Path(__file__).parent.glob("test_fault_*.py")
        if path != Path(__file__)
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.M)
    }
    assert own <= named, own - named
