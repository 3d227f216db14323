"""A digit that has changed in a storage reaches no ledger, no choice of trials, no event, no table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import toy_studies as toy

from wsss.pipeline.chains.chain import Part, build_chain
from wsss.pipeline.events import TrialFinished
from wsss.pipeline.past.results import chain_result
from wsss.store.folder_store import Store

SWEEP = "name: cam, keep: 1, search: {lr: {choice: [0.01, 0.1]}}, stages: [classifier: {epochs: 2, lr: $lr}, cams]"


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> Any:
    return toy.install(monkeypatch)


class Told:
    def __init__(self) -> None:
        self.metrics: dict[float, float] = {}

    def on_event(self, event: Any) -> None:
        if isinstance(event, TrialFinished):
            self.metrics[event.trial.params["lr"]] = event.metrics["cams/select/miou"]  # type: ignore[index]

    def close(self) -> None: ...


def raise_score(study: Any) -> Path:
    """Write 9.5 for the worse trial's 0.5, in a file that keeps its size and its time."""
    (worse,) = (record for record in toy.records(study).values() if record.params["lr"] == 0.1)
    path: Path = Store(study.storage / "store").folder(worse.keys["cams.scores"]) / "scores.json"
    facts, text = path.stat(), path.read_text()
    path.write_text(text.replace('"select": {"miou": 0.5}', '"select": {"miou": 9.5}'))
    assert path.read_text() != text and path.stat().st_size == facts.st_size
    return path


def test_it_reaches_neither_ledger_nor_events_nor_what_is_kept(data: Any, tmp_path: Path) -> None:
    study = toy.study(tmp_path, SWEEP)
    toy.run(study, data)
    before = toy.table(study)
    assert {record.params["lr"]: record.kept for record in toy.records(study).values()} == {
        0.01: True,
        0.1: False,
    }
    raise_score(study)
    told = Told()
    outcome, _ = toy.run(study, data, observers=[told])
    assert not outcome.failed and outcome.computed == 1, "the score alone is made again"
    assert told.metrics == {0.01: 1.0, 0.1: 0.5}
    assert toy.table(study) == before
    assert len(Store(tmp_path / "store").damaged()) == 1


def test_a_score_that_changes_between_making_and_reading_fails_its_trial_until_it_is_made_again(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = toy.study(tmp_path, SWEEP)
    read = Store.read_json
    damage = [True]

    def late(store: Store, key: str, name: str) -> Any:
        scores = store.folder(key) / name
        if damage and scores.exists() and '"select": {"miou": 0.5}' in scores.read_text():
            damage.pop()
            scores.write_text(scores.read_text().replace("0.5", "9.5", 1))
        return read(store, key, name)

    monkeypatch.setattr(Store, "read_json", late)
    outcome, _ = toy.run(study, data)
    assert len(outcome.failed) == 1
    (error,) = [record.error for record in toy.records(study).values() if record.error]
    assert "cams.scores has changed" in error
    outcome, _ = toy.run(study, data)
    assert not outcome.failed
    assert {r.params["lr"]: r.metrics["cams/select/miou"] for r in toy.records(study).values()} == {
        0.01: 1.0,
        0.1: 0.5,
    }


def test_a_classifier_without_a_history_has_no_hold_out_score(data: Any, tmp_path: Path) -> None:
    """As in a record of a version that wrote none."""
    study = toy.study(tmp_path, SWEEP)
    params = study.sweeps[0].arms[0].stages[0]
    from wsss.config import resolve_stage

    chain = build_chain([Part("classifier", "classifier", resolve_stage(params, {"lr": 0.1}))], data, 0)
    store = Store(tmp_path / "store")
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "classifier.safetensors").write_bytes(b"")
    store.commit(chain.nodes[0].key, folder, {"stage": "classifier"})
    result = chain_result(chain, store)
    assert result.metrics == {} and list(result.files) == ["classifier.safetensors"]


def test_a_score_that_is_marked_as_evicted_is_made_again(data: Any, tmp_path: Path) -> None:
    study = toy.study(tmp_path, SWEEP)
    toy.run(study, data)
    before = toy.table(study)
    (best,) = (record for record in toy.records(study).values() if record.kept)
    store = Store(tmp_path / "store")
    (store.folder(best.keys["cams.scores"]) / "evicted").touch()
    told = Told()
    outcome, _ = toy.run(study, data, observers=[told])
    assert outcome.computed == 1 and told.metrics == {0.01: 1.0, 0.1: 0.5}
    assert toy.table(study) == before
