"""Tables fit the screen, and the names of rows stand in each."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest
from command_line import in_process
from rich.cells import cell_len
from rich.table import Table

from wsss.cli import main
from wsss.cli.console import fitted, out, print_table
from wsss.cli.machines.doctor import doctor
from wsss.store.storage import open_storage

HEADER = [
    "arm",
    "seeds",
    "tried",
    "epochs",
    "CPU-h",
    "CAM",
    "95 % interval",
    "Δ baseline",
    "τ",
    "area",
    "PxAP",
    "mask",
]
LINES = [
    ["floor", *[""] * 4, "29.9", *[""] * 5, "29.9"],
    ["fmix (alpha 1.39, decay 2.27)", "3", "12", "240", "12.3", "39.3", "[38.1, 40.4]", "-1.3*", "0.45", "33.0", "44.0", "42.8"],
    [f"subcategory_exploration ({'x' * 60})", "3", "12", "240", "12.3", "39.3", "[38.1, 40.4]", "-1.3*", "0.45", "33.0", "44.0", "42.8"],
]  # fmt: skip
GROUPS = [[5, 6, 7], [11], [8, 9, 10], [1, 2, 3, 4]]


@pytest.mark.parametrize("width", [40, 80, 100, 200])
def test_no_table_is_wider_than_the_screen_and_all_name_their_rows(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    print_table("mIoU in percent", HEADER, LINES, groups=GROUPS)
    text = capsys.readouterr().out
    assert all(cell_len(line) <= width for line in text.split("\n"))
    tables = [block for block in re.split(r"\n\s*\n", text) if "arm" in block]
    assert tables and all("fmix" in table for table in tables)
    assert "floor" in tables[0], "the first has all rows"
    assert all(("floor" in table) == ("29.9" in table) for table in tables[1:]), "others what is not empty"
    for heading in HEADER[1:]:
        heads = [next(line for line in table.split("\n") if line.startswith("arm")) for table in tables]
        assert sum(heading in re.split(r" {2,}", line.strip()) for line in heads) == 1, "shown, and once"
    assert (len(tables) == 1) == (width == 200)
    assert text.count("mIoU in percent") == 1
    if width == 80:
        assert "CAM" in tables[0] and "Δ baseline" in tables[0] and "epochs" in tables[-1], (
            "what counts comes first"
        )
        assert "fmix (alpha 1.39, decay 2.27)" in tables[0]


def test_a_part_without_a_cell_is_no_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    print_table("", ["arm", "x" * 25, "y" * 25], [["a", "1", ""], ["b", "2", ""]])
    text = capsys.readouterr().out
    assert "x" * 25 in text and "y" * 25 not in text


def test_without_a_screen_eighty_columns_are_enough(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    print_table("", HEADER, LINES, groups=GROUPS)
    assert max(map(cell_len, capsys.readouterr().out.split("\n"))) <= 80


def test_groups_stay_together_unless_one_alone_is_too_wide() -> None:
    widths = [20, 30, 30, 10, 10]
    assert list(fitted(widths, 200, 1, [[1, 2], [3, 4]])) == [[0, 1, 2, 3, 4]]
    assert list(fitted(widths, 90, 1, [[3, 4], [1, 2]])) == [[0, 3, 4], [0, 1, 2]]
    assert list(fitted(widths, 60, 1, [[1, 2], [3, 4]])) == [[0, 1], [0, 2], [0, 3, 4]]
    assert list(fitted([20], 80, 1, [])) == [[0]]


def test_brackets_in_names_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("t", ["arm", "x"], [["[bold]a[/]", "1"]])
    assert "[bold]a[/]" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["[b]bold", "[/b]", ":dog:", "1 True 'x'"])
def test_a_name_is_printed_as_it_is(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a folder of the storage, or of one that `doctor` looks at."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    for width in ("", "200"):
        monkeypatch.setenv("COLUMNS", width)
        table = Table()
        table.add_row(name)
        out().print(table)
        assert name in capsys.readouterr().out


def test_doctor_prints_what_it_found_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("wsss.cli.machines.checkup.examine", lambda place: [("storage", "ok", "/a[/b]")])
    doctor()
    assert "/a[/b]" in capsys.readouterr().out


def test_storage_ls_prints_names_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_storage(tmp_path)
    (tmp_path / "work").mkdir()
    storage.store.commit("ab" * 32, tmp_path / "work", {"stage": "cams", "seconds": 1.0})
    trial = dict.fromkeys(("id", "sweep", "arm", "configuration", "upstream", "method", "backbone"), "x")
    storage.ledger("[b]").append("trial", **trial, seed=0, params={}, keys={"cams": "ab" * 32})
    done = in_process("storage", "ls", "--storage", tmp_path)
    assert done.returncode == 0 and "[b]" in done.stdout, done


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_a_terminal_cannot_show_is_spelt_out(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a terminal with other letters, and of a file whose name is no text."""
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    monkeypatch.setattr(sys, "argv", ["launch.py", "compare", "Δ\udce9", "--storage", "/nowhere"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    print("Δ\udce9", flush=True)
    told = sys.stdout.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    assert told.strip() == ("Δ" if encoding == "utf-8" else "\\u0394") + "\\udce9"
