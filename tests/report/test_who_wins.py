"""Which trial wins, and what an experiment's note says of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from wsss.report.comparison import Cell, Comparison, Difference, Protocol, Row
from wsss.report.conclusion import LONGEST_NOTE, best_trial, note_of
from wsss.store.ledger import TrialRecord

PROTOCOL = Protocol("cams", "report", 8, labels=True, floor=0.3, comparable=True)


def row(arm: str, miou: float, select: float | None, **more: Any) -> Row:
    cells = {"cams": Cell(miou, miou - 0.02, miou + 0.02, select=select, **more.pop("cell", {}))}
    return Row("s", arm, "cam", arm, (0, 1), {}, "done", "", more.pop("cells", cells), **more)


def compared(*rows: Row, steps: tuple[str, ...] = ("cams",)) -> Comparison:
    return Comparison(rows, steps, dict.fromkeys(steps, PROTOCOL), "baseline", ("background", "cat"))


def past_of(**metrics: dict[int, dict[str, float]]) -> Any:
    """A study's past: arm → seed → the metrics of a trial that is done."""
    records = {
        f"{arm}-s{seed}": TrialRecord(
            f"{arm}-s{seed}", "cam", arm, seed, {}, arm, "", "cam", "x", {}, "done", found
        )
        for arm, seeds in metrics.items()
        for seed, found in seeds.items()
    }
    return SimpleNamespace(records=records)


def test_select_decides_and_not_what_is_reported() -> None:
    both = {
        "a": {0: {"cams/select/miou": 0.5}, 1: {"cams/select/miou": 0.7}},
        "b": {0: {"cams/select/miou": 0.5}},
    }
    trial, best = best_trial(past_of(**both), compared(row("a", 0.4, 0.6), row("b", 0.9, 0.5)))
    assert trial is not None and best is not None
    assert (best.arm, trial.id) == ("a", "a-s1"), "of seeds, the one that scored best on select"


def test_rows_with_pixel_labels_win_only_where_there_are_no_others() -> None:
    past = past_of(a={0: {}}, bound={0: {}})
    bound = row("bound", 0.9, 0.9, pixel_labels=("masks",))
    trial, _ = best_trial(past, compared(row("a", 0.4, 0.4), bound))
    assert trial is not None and trial.arm == "a"
    trial, _ = best_trial(past, compared(bound))
    assert trial is not None and trial.arm == "bound"


def test_without_masks_the_hold_out_decides_and_nothing_done_is_no_winner() -> None:
    past = past_of(a={0: {}}, b={0: {}})
    rows = [row("a", 0, None, cells={}, holdout={"classifier": 0.5})]
    rows.append(row("b", 0, None, cells={}, holdout={"classifier": 0.6}))
    trial, _ = best_trial(past, compared(*rows, steps=()))
    assert trial is not None and trial.arm == "b"
    assert best_trial(past, compared()) == (None, None)


def test_the_note_has_the_answer_intervals_and_differences_and_never_too_much() -> None:
    difference = {"to_baseline": Difference(0.031, 0.01, 0.05, 0.01, 0.02)}
    comparison = compared(row("baseline", 0.5, 0.5), row("fmix", 0.531, 0.6, cell=difference))
    note = note_of(comparison, ("baseline", "fmix"))
    assert note.startswith("**CAM: fmix leads with 53.1 % mIoU [51.1, 55.1]")
    assert "| fmix | 2 | 53.1 | [51.1, 55.1] | +3.1* |" in note
    many = compared(*(row(f"arm{n}", 0.5, 0.5) for n in range(2000)))
    long = note_of(many, tuple(one.arm for one in many.rows))
    assert len(long) <= LONGEST_NOTE and "`report.html` of the study's run." in long
    assert long.endswith(note.splitlines()[-1] + "\n"), "no sentence is left out"
