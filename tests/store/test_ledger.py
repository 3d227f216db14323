"""The ledger survives a crash in the middle of a line and tells the last word on every trial."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsss.store.ledger import Ledger

TRIAL = {
    "sweep": "cam",
    "arm": "fmix",
    "seed": 0,
    "params": {"alpha": 0.5},
    "configuration": "cam-fmix-000",
    "upstream": "",
    "method": "fmix",
    "backbone": "r",
    "keys": {"classifier": "ab"},
}


def test_trials_are_read_back_with_their_ends(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.append("trial", id="a", **TRIAL)
    ledger.append("trial", id="b", **TRIAL)
    ledger.append("end", id="a", status="failed", metrics={}, error="boom", seconds=1.5)
    ledger.append("end", id="a", status="done", metrics={"cams/select/miou": 0.5}, error="", seconds=2.0)
    ledger.append("kept", sweep="cam", ids=["a"], keys=["ab"])
    trials = Ledger(tmp_path).trials()
    assert list(trials) == ["a", "b"]
    assert trials["a"].status == "done" and trials["a"].seconds == 3.5 and trials["a"].kept
    assert trials["a"].metrics == {"cams/select/miou": 0.5}
    assert trials["b"].status == "started" and not trials["b"].kept


def test_a_line_cut_short_is_passed_over_and_the_next_one_counts(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.append("trial", id="a", **TRIAL)
    with ledger.path.open("ab") as file:
        file.write(b'{"type": "end", "id": "a", "stat')
    again = Ledger(tmp_path)
    again.append("trial", id="b", **TRIAL)
    assert list(again.trials()) == ["a", "b"]
    assert again.trials()["a"].status == "started"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"\xef\xbb\xbf{}", "line 1 (is no JSON from its character 1 on)"),
        ('{"a": "ö"}'.encode("latin-1"), "line 1 (is not a text in UTF-8)"),
        (b'{"a": 1,}', "line 1 (is no JSON from its character 9 on)"),
    ],
)
def test_a_line_in_the_middle_that_is_none_is_told_in_words(
    line: bytes, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "ledger.jsonl").write_bytes(line + b"\n")
    assert Ledger(tmp_path).trials() == {} and said in caplog.text
