"""Chains: keys, what is left to make, and going on after being stopped anywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import toys

from wsss.errors import ConfigError, StageError
from wsss.pipeline.chains import watching
from wsss.pipeline.chains.chain import Chain, Part, build_chain
from wsss.pipeline.chains.execute import run_chain
from wsss.pipeline.events import StageFinished, StepPart, TrialProgress
from wsss.store.folder_store import Store


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    return toys.install(monkeypatch)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def parts(**params: Any) -> list[Part]:
    return [
        Part("source", "source", toys.ToyParams(**params)),
        Part("sink", "sink", toys.ToyParams(length=2)),
    ]


def run(chain: Chain, store: Store, data: Any, **options: Any) -> Iterator[TrialProgress | StageFinished]:
    return run_chain("t", chain, store, data, device="cpu", threads=1, **options)


def digests(chain: Chain, store: Store) -> list[str]:
    return [artefact.digest for node in chain.nodes if (artefact := store.get(node.key))]


def test_keys_depend_on_what_matters_and_on_nothing_else(data: SimpleNamespace) -> None:
    base = build_chain(parts(), data, 0)
    assert build_chain(parts(), data, 0) == base
    other_seed = build_chain(parts(), data, 1)
    assert other_seed["source"].key != base["source"].key
    assert other_seed["sink"].key != base["sink"].key, "its input changed"
    assert build_chain(parts(add=2.0), data, 0)["sink"].key != base["sink"].key
    other_data = SimpleNamespace(has_masks=False, image_key=lambda ids: "others")
    assert build_chain(parts(), other_data, 0)["source"].key != base["source"].key


def test_a_chain_survives_json(data: SimpleNamespace) -> None:
    chain = build_chain(parts(), data, 3)
    assert Chain.from_json(json.loads(json.dumps(chain.to_json()))) == chain


def test_from_picks_a_named_artefact_and_the_latest_is_the_default(data: SimpleNamespace) -> None:
    chain = build_chain(
        [
            Part("source", "first", toys.ToyParams()),
            Part("source", "second", toys.ToyParams(add=2)),
            Part("sink", "sink", toys.ToyParams()),
            Part("sink", "other", toys.ToyParams(), source="first"),
        ],
        data,
        0,
    )
    assert chain["sink"].inputs == {"source": "second"}
    assert chain["other"].inputs == {"source": "first"}
    assert [node.label for node in chain.upto("other").nodes] == ["first", "other"]


def test_a_stage_without_its_input_is_refused(data: SimpleNamespace) -> None:
    with pytest.raises(ConfigError, match="sink: needs 'source', which no earlier stage makes"):
        build_chain([Part("sink", "sink", toys.ToyParams())], data, 0)


def test_everything_is_made_once_then_found(data: SimpleNamespace, store: Store) -> None:
    chain = build_chain(parts(), data, 0)
    events = list(run(chain, store, data))
    assert [e.step for e in events if isinstance(e, TrialProgress)] == [1, 2, 3, 4, 1, 2]
    assert len(toys.Source.made) == 6
    events = list(run(chain, store, data))
    assert [e.cached for e in events if isinstance(e, StageFinished)] == [True, True]
    assert len(toys.Source.made) == 6


@pytest.mark.parametrize("stop", range(1, 9))
def test_stopped_after_any_event_it_goes_on_to_the_same_bytes(
    stop: int, data: SimpleNamespace, store: Store, tmp_path: Path
) -> None:
    chain = build_chain(parts(), data, 0)
    calm = Store(tmp_path / "calm")
    list(run(chain, calm, data))
    toys.Source.made.clear()
    events = run(chain, store, data, checkpoint_seconds=0)
    for _ in range(stop):
        next(events)
    events.close()  # type: ignore[attr-defined]
    list(run(chain, store, data, checkpoint_seconds=0))
    assert digests(chain, store) == digests(chain, calm)
    repeated = len(toys.Source.made) - len(set(toys.Source.made))
    assert repeated == 0, "a step that was saved is not done again"
    assert not list((store.root / "partial").iterdir())


def test_evicted_inputs_are_only_made_again_when_needed(data: SimpleNamespace, store: Store) -> None:
    chain = build_chain(parts(), data, 0)
    list(run(chain, store, data))
    store.evict(chain["source"].key)
    assert chain.pending(store) == []
    store.set_aside(chain["sink"].key)
    assert [node.label for node in chain.pending(store)] == ["source", "sink"]


def test_a_damaged_input_is_made_again_before_it_is_used(data: SimpleNamespace, store: Store) -> None:
    chain = build_chain(parts(), data, 0)
    list(run(chain.upto("source"), store, data))
    file = store.folder(chain["source"].key) / "total.json"
    whole = file.read_text()
    fresh = Store(store.root)  # another process, which has not compared the bytes yet
    file.write_text("9" * len(whole))
    list(run(chain, fresh, data))
    assert file.read_text() == whole
    assert len(list((store.root / "damaged").iterdir())) == 1


def test_an_artefact_of_other_input_bytes_is_made_again(data: SimpleNamespace, store: Store) -> None:
    chain = build_chain(parts(), data, 0)
    list(run(chain, store, data))
    store.set_aside(chain["source"].key)
    with_other_bytes = store.root / "new"
    with_other_bytes.mkdir(parents=True)
    (with_other_bytes / "total.json").write_text("0.5")
    store.commit(chain["source"].key, with_other_bytes, {"stage": "source", "inputs": {}, "seconds": 0})
    assert [node.label for node in chain.pending(store)] == ["sink"]


def test_a_loss_that_is_not_finite_ends_the_trial_with_its_place(data: SimpleNamespace, store: Store) -> None:
    chain = build_chain(parts(fail_at=3), data, 0)
    with pytest.raises(StageError, match=r"source, step 3: loss is nan; a smaller learning rate"):
        list(run(chain, store, data))
    assert store.get(chain["source"].key) is None


def test_who_watches_hears_of_the_parts_of_a_step(
    data: SimpleNamespace, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = toys.Source.step

    def in_parts(stage: toys.Source) -> dict[str, float]:
        stage.on_part(1, 2)
        stage.on_part(2, 2)
        return plain(stage)

    monkeypatch.setattr(toys.Source, "step", in_parts)
    monkeypatch.setattr(watching, "WATCH_SECONDS", 0.0)
    heard: list[StepPart] = []
    chain = build_chain(parts(length=2), data, 0)
    for _ in run(chain, store, data, watch=heard.append):
        pass
    assert heard == [StepPart("t", "source", step, 2, part, 2) for step in (0, 1) for part in (1, 2)]
    monkeypatch.setattr(watching, "WATCH_SECONDS", 3600.0)
    for _ in run(build_chain(parts(length=3), data, 0), store, data, watch=heard.append):
        pass
    assert len(heard) == 5, "the first of many at once"
