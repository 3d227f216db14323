"""What `run` says at its end: shares, doubts, where things are, and what to do next."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from command_line import in_process

from wsss.config import Study, load_study_text
from wsss.data.view import open_data
from wsss.masks.images import read_mask, write_mask
from wsss.pipeline.past.stored_studies import find_study
from wsss.report.compare import compare
from wsss.report.study_doubts import examine
from wsss.store.ledger import Ledger


def again(folder: Path, *words: str) -> str:
    """Return what a run prints that finds everything."""
    done = in_process("run", folder / "tiny.yaml", "--local", "--storage", folder / "runs", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_run_ends_in_shares_and_in_commands_that_work(copied_study: Path) -> None:
    text = again(copied_study)
    assert "Shares in masks of baseline: background " in text and "Shares in masks of fmix: " in text
    tips = dict(line.strip().split(": ", 1) for line in text.partition("Next:\n")[2].splitlines())
    page = copied_study / "runs/studies/tiny/report.html"
    assert (
        tips.pop("look at photos, maps and masks of every arm") == f"open {page} in a browser"
        and page.is_file()
    )
    assert len(tips) == 3
    for command in tips.values():
        python, launcher, *words = shlex.split(command)
        assert python.endswith("python") or "python3" in python
        assert launcher == "launch.py"
        done = in_process(*words, cwd=copied_study)
        assert done.returncode == 0, (command, done.stderr)
    assert (copied_study / "tiny.html").is_file() and (copied_study / "whole_chain.yaml").is_file()


def test_masks_that_show_nothing_are_said_aloud(copied_study: Path) -> None:
    runs = copied_study / "runs"
    trials = Ledger(runs / "studies/tiny").trials()
    key = next(
        t.keys["pseudo_masks"]
        for t in trials.values()
        if t.kept and t.arm == "baseline" and t.sweep == "masks"
    )
    masks = sorted((runs / "store" / key[:2] / key).glob("*.png"))
    before = {path: path.read_bytes() for path in masks}
    study = find_study("tiny", runs)
    data = open_data(study.data, storage=runs)
    labelled = dict(zip(data.labelled_ids, data.dataset.labels(data.labelled_ids).any(1), strict=True))
    shown = sum(bool(labelled[path.stem]) for path in masks)
    for path in masks:
        write_mask(path, np.zeros_like(read_mask(path)))
    try:
        found = examine(compare(runs, ["tiny"]), runs, data)
    finally:
        for path, content in before.items():
            path.write_bytes(content)
    (doubt,) = [
        one.doubt
        for one in found.doubts
        if (one.arm, one.step) == ("baseline", "pseudo_masks") and "object" in one.doubt.found
    ]
    assert doubt.found == f"no object in {shown} of {shown} photos" and "background_exponent" in doubt.advice
    (line,) = [line for line in found.lines() if "no object" in line]
    assert line.startswith("warning: baseline, pseudo_masks: no object in ") and ". Next: " in line
    shares = next(one for one in found.as_json()["shares"] if one["arm"] == "baseline")
    assert (shares["masks"], shares["empty"], shares["shares"]["background"]) == (shown, shown, 1.0)


def test_equal_doubts_of_several_arms_are_one_line_and_many_are_counted() -> None:
    from wsss.report.doubts import Doubt
    from wsss.report.study_doubts import Examined, RowDoubt

    doubts = [RowDoubt(arm, "cams", Doubt(f"{arm} is bad", "try x")) for arm in ("a", "b", "c")]
    doubts += [RowDoubt("a", f"step{n}", Doubt("bad", "try y")) for n in range(9)]
    first, *others = Examined((), tuple(doubts)).lines()
    assert first == "warning: a (and b, c), cams: a is bad. Next: try x"
    assert len(others) == 6 and others[-1] == "… and 4 more warnings"


def test_a_program_reads_shares_and_warnings(copied_study: Path) -> None:
    found = json.loads(again(copied_study, "--json"))
    assert {one["arm"] for one in found["shares"]} == {"baseline", "fmix"}
    assert all(sum(one["shares"].values()) == pytest.approx(1) for one in found["shares"])
    assert all(set(one) == {"arm", "step", "found", "next"} for one in found["warnings"])


def test_the_network_for_new_photos_is_that_of_a_finished_row_with_a_segmenter() -> None:
    from wsss.cli.running.conclusion import _with_network
    from wsss.report.comparison import Comparison, Row

    def row(arm: str, segments: bool, status: str = "done") -> Row:
        return Row("s", arm, "cam", f"c-{arm}", (0,), {}, status, "", {}, segments=segments)

    rows = (row("a", False), row("b", True, "failed"), row("c", True))
    chosen = _with_network(Comparison(rows, (), {}, "a", ()))
    assert chosen is not None and chosen.arm == "c"
    assert _with_network(Comparison(rows[:2], (), {}, "a", ())) is None


def test_label_says_the_same_of_its_masks(copied_study: Path, tmp_path: Path) -> None:
    from wsss.cli.label import _warnings

    runs = copied_study / "runs"
    study = find_study("tiny", runs)
    data = open_data(study.data, storage=runs)
    masks = [tmp_path / f"{number}.png" for number in range(4)]
    for path in masks:
        write_mask(path, np.zeros((8, 8), np.uint8))
    found = _warnings(study, data, masks)
    assert any(line.startswith("masks: no object in 4 of 4 photos. Next: ") for line in found)
    said = [f"{one.step}: {one.doubt}" for one in examine(compare(runs, ["tiny"]), runs, data).doubts]
    assert set(said) <= set(found) and len(set(found)) == len(found)


def test_errors_of_failed_trials_are_said_once_each(tmp_path: Path) -> None:
    from wsss.cli.running.conclusion import failed_lines
    from wsss.store.ledger import Ledger

    ledger = Ledger(tmp_path / "studies" / "s")
    for number in range(13):
        id = f"cam-a-{number:03d}"
        own = {
            "sweep": "cam", "seed": 0, "params": {}, "configuration": id, "upstream": "", "method": "cam",
            "backbone": "b", "keys": {}, "arm": "a",
        }  # fmt: skip
        ledger.append("trial", id=id, **own)
        error = "Traceback\nno memory" if number else "a photo is damaged"
        ledger.append("end", id=id, status="failed", metrics={}, error=error, seconds=1.0)
    study = find_study_of(tmp_path)
    first, second = failed_lines(study, [f"cam-a-{number:03d}" for number in range(13)])
    assert first == "Failed: cam-a-000: a photo is damaged"
    assert second.startswith("Failed: cam-a-001, ") and second.endswith(" and 2 more: no memory")


def find_study_of(root: Path) -> Study:
    text = "name: s\ndata: {dataset: sample}\nsweeps: [{name: cam, stages: [classifier, cams]}]\n"
    return load_study_text(text, source="s.yaml", base=root, storage=str(root))
