"""Telling a study's course again from its ledger, also while a run adds to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wsss.pipeline.events import TrialStarted
from wsss.pipeline.past.retell import remember, retell
from wsss.store.ledger import Ledger
from wsss.store.storage import Storage


def begin(ledger: Ledger, id: str) -> None:
    about = {"arm": "a", "seed": 0, "params": {}, "configuration": id, "upstream": "", "method": "cam"}
    ledger.append("trial", id=id, sweep="s", backbone="b", keys={}, **about)
    ledger.append("begin", id=id)


def started(storage: Storage) -> list[str]:
    past = remember(storage, "study")
    events = [event for _, event in retell(past, storage.store, running=True)]
    return [event.trial.id for event in events if isinstance(event, TrialStarted)]


def test_a_run_may_add_to_the_ledger_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(tmp_path, tmp_path)
    begin(storage.ledger("study"), "first")
    read, reads = Ledger._read, []

    def read_and_grow(ledger: Ledger) -> Any:
        found = read(ledger)
        reads.append(ledger)
        begin(ledger, f"later-{len(reads)}")
        return found

    monkeypatch.setattr(Ledger, "_read", read_and_grow)
    assert started(storage) == ["first"]
    assert started(storage)[:2] == ["first", "later-1"]


def test_what_is_no_number_in_an_entry_that_has_none_does_not_matter(tmp_path: Path) -> None:
    storage = Storage(tmp_path, tmp_path)
    begin(storage.ledger("study"), "first")
    storage.ledger("study").append("begin", id="first", seconds="many")
    lines = storage.ledger("study").path.read_text().splitlines()
    storage.ledger("study").path.write_text("\n".join([lines[0], lines[2]]) + "\n")
    assert started(storage) == ["first"]
