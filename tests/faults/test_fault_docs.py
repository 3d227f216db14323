"""docs/faults.md promises nothing that no test proves, and no test of faults is left out."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


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
