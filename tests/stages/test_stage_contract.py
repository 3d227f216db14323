"""What every stage promises: honest steps, the same bytes however often it is interrupted."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest

from wsss.data.view import DataView
from wsss.errors import StorageError
from wsss.pipeline.chains.chain import Chain
from wsss.pipeline.chains.execute import run_chain
from wsss.pipeline.events import StageFinished, TrialProgress
from wsss.stages import STAGES
from wsss.store.folder_store import Store

LABELS = (
    *("first", "features", "subcategories", "classifier"),
    *("cams", "cams.scores", "pseudo_masks", "pseudo_masks.scores"),
    *("agreement", "affinity_labels", "affinity", "walk", "walk.scores"),
    *("boundaries", "boundary_walk", "boundary_walk.scores"),
    *("kept_walk", "from_kept_walk", "from_kept_walk.scores"),
    *("segmenter", "segmentations", "segmentations.scores"),
    *("alone", "alone.scores"),
    *("few", "few_maps", "few_maps.scores", "head"),
    *("theirs", "theirs.scores", "refined", "refined.scores"),
)


def test_the_chain_of_these_tests_holds_every_stage(tiny_chain: Chain) -> None:
    assert tuple(node.label for node in tiny_chain.nodes) == LABELS
    others = {"import", "pictures"}  # which have tests of their own
    assert {node.stage for node in tiny_chain.nodes} == set(STAGES) - others


@pytest.mark.parametrize("label", LABELS)
def test_killed_after_every_step_it_ends_in_the_same_bytes(
    label: str, tiny_chain: Chain, tiny_view: DataView, calm_store: Store, small_chunks: None, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    chain = tiny_chain.upto(label)
    for node in chain.nodes[:-1]:
        shutil.copytree(calm_store.folder(node.key), store.folder(node.key))
    steps = []
    for _ in range(50):
        events = run_chain("t", chain, store, tiny_view, device="cpu", threads=1, checkpoint_seconds=0)
        for event in events:
            if isinstance(event, TrialProgress) and not event.replayed:
                steps.append((event.step, event.steps))
                events.close()  # type: ignore[attr-defined]
                break
        else:
            break
    assert len({total for _, total in steps}) == 1
    total = steps[0][1]
    assert total > 1, "a single step would prove nothing"
    assert [step for step, _ in steps][:total] == list(range(1, total + 1))
    calm, killed = calm_store.get(chain[label].key), store.get(chain[label].key)
    assert calm is not None and killed is not None
    assert killed.digest == calm.digest and killed.record["files"].keys() == calm.record["files"].keys()
    assert killed.record["history"] == calm.record["history"]


@pytest.mark.parametrize("label", LABELS)
def test_its_record_says_what_it_was_made_of(label: str, tiny_chain: Chain, calm_store: Store) -> None:
    node = tiny_chain[label]
    artefact = calm_store.get(node.key, thorough=True)
    assert artefact is not None
    record = artefact.record
    assert record["stage"] == node.stage and record["version"] == STAGES[node.stage].version
    assert record["params"] == node.params.model_dump(mode="json")
    for kind, source in node.inputs.items():
        made_from = calm_store.get(tiny_chain[source].key)
        assert made_from is not None
        assert record["inputs"][kind] == {"key": made_from.key, "digest": made_from.digest}
    assert record["threads"] == 1 and record["device"] == "cpu" and record["seconds"] > 0
    assert all(math.isfinite(value) for step in record["history"] for value in step.values())


def test_an_unfinished_last_step_is_not_lost_when_finishing_fails(
    tiny_chain: Chain,
    tiny_view: DataView,
    small_chunks: None,
    calm_store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A full disk while the result is written costs the writing, not the work before it."""
    store = Store(tmp_path / "store")
    chain = tiny_chain.upto("cams")
    for node in chain.nodes[:-1]:
        shutil.copytree(calm_store.folder(node.key), store.folder(node.key))

    def full(self: object, folder: Path) -> dict[str, object]:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(STAGES["cams"].stage(), "finish", full)
        with pytest.raises(StorageError, match="No space left"):
            list(run_chain("t", chain, store, tiny_view, device="cpu", threads=1, checkpoint_seconds=0))
    again = list(run_chain("t", chain, store, tiny_view, device="cpu", threads=1, checkpoint_seconds=0))
    made = [event for event in again if isinstance(event, TrialProgress) and not event.replayed]
    assert len(made) <= 1
    assert [e.cached for e in again if isinstance(e, StageFinished)] == [True] * 4 + [False]


@pytest.mark.long
@pytest.mark.parametrize("threads", [(1, 2), (2, 1)], ids=["more", "fewer"])
@pytest.mark.parametrize("label", [label for label in LABELS if "." not in label])
def test_it_goes_on_with_more_cpus_or_fewer(
    label: str,
    threads: tuple[int, int],
    tiny_chain: Chain,
    tiny_view: DataView,
    calm_store: Store,
    small_chunks: None,
    tmp_path: Path,
) -> None:
    store = Store(tmp_path / "store")
    chain = tiny_chain.upto(label)
    for node in chain.nodes[:-1]:
        shutil.copytree(calm_store.folder(node.key), store.folder(node.key))
    events = run_chain("t", chain, store, tiny_view, device="cpu", threads=threads[0], checkpoint_seconds=0)
    next(event for event in events if isinstance(event, TrialProgress) and not event.replayed)
    events.close()  # type: ignore[attr-defined]
    rest = [*run_chain("t", chain, store, tiny_view, device="cpu", threads=threads[1], checkpoint_seconds=0)]
    steps = [event.step for event in rest if isinstance(event, TrialProgress) and not event.replayed]
    assert steps[0] == 2, "it goes on"
    calm, other = calm_store.get(chain[label].key), store.get(chain[label].key, thorough=True)
    assert calm is not None and other is not None
    assert other.record["files"].keys() == calm.record["files"].keys()
