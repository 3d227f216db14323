"""The stage that walks: what it remembers of smaller copies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wsss.data.pool import array_bytes
from wsss.data.view import DataView
from wsss.pipeline.chains.chain import Chain
from wsss.stages import chunks
from wsss.stages.contract import Context
from wsss.stages.refining.pseudo_masks import PseudoMasks
from wsss.stages.refining.walker import FREE_SHARE, Walker
from wsss.store.folder_store import Store


class Stages:
    """Builds the stage of a chain's boundary walk on what the chain made before."""

    def __init__(self, chain: Chain, view: DataView, store: Store, work: Path) -> None:
        self.node = chain["boundary_walk"]
        self.inputs = {kind: store.folder(chain[label].key) for kind, label in self.node.inputs.items()}
        self.view, self.work = view, work

    def build(self) -> PseudoMasks:
        return PseudoMasks(Context(self.node.params, self.inputs, self.view, 0, "cpu", 1, self.work))


@pytest.fixture
def stages(tiny_chain: Chain, tiny_view: DataView, calm_store: Store, tmp_path: Path) -> Stages:
    (tmp_path / "work").mkdir()
    return Stages(tiny_chain, tiny_view, calm_store, tmp_path / "work")


def test_what_was_walked_on_smaller_copies_for_want_of_memory_stands_in_the_record(
    stages: Stages, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also after it was stopped and went on with less memory, and again with more."""
    free = {"bytes": 2**40}
    canvas = Walker._canvas
    monkeypatch.setattr(Walker, "_free", lambda self: free["bytes"])
    # The network's canvas is as large as these photos: no copy would take less.
    monkeypatch.setattr(Walker, "_canvas", lambda self, height, width, least: canvas(self, height, width, 0))
    plain = stages.build()
    assert plain.walker is not None and plain.notes == {"smaller": {}}
    whole = plain.walker.memory(64, 64)

    free["bytes"] = int(0.9 * whole / FREE_SHARE)
    first = stages.build()
    assert first.notes["free_memory_allowed_gib"] == pytest.approx(0.9 * whole / 2**30, abs=1e-3)
    smaller = dict(first.notes["smaller"])
    assert 3 < len(smaller) < len(first.ids) and max(max(size) for size in smaller.values()) < 64
    first.step()
    first.save(tmp_path)

    free["bytes"] = int(1.05 * plain.walker.memory(48, 32) / FREE_SHARE)
    second = stages.build()
    second.load(tmp_path, 1)
    found, done = second.notes["smaller"], set(second.ids[: second.images])
    assert {id for id in found if id in done} == {id for id in smaller if id in done}, "done before"
    assert all(found[id] == smaller[id] for id in found if id in done)
    later = [id for id in smaller if id not in done]
    assert any(max(found[id]) < max(smaller[id]) for id in later)
    second.step()

    free["bytes"] = 2**40
    third = stages.build()
    third.load(tmp_path, 2)
    assert third.notes == second.notes, "it goes on as it began"
    while third.done < third.steps:
        third.step()
    (tmp_path / "made").mkdir()
    assert third.finish(tmp_path / "made")["smaller"] == second.notes["smaller"]


def test_scores_that_wait_for_a_crf_are_bounded_and_masks_are_the_same(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = stages.build()
    assert stage.walker is not None and stage.walker.params.crf
    ids = [id for id in stage.ids if len(stage.cams[id][1])][:6]
    groups: list[list[int]] = []
    refined = stage.pool.map

    def recorded(function: Any, tasks: list[Any]) -> list[Any]:
        groups.append([array_bytes(task) for task in tasks])
        return refined(function, tasks)

    monkeypatch.setattr(stage.pool, "map", recorded)
    at_once = stage._walked(stage.walker, ids)
    (sizes,) = groups
    assert len(sizes) == 6
    for most in (max(sizes) * 2, 1):
        groups.clear()
        monkeypatch.setattr(chunks, "MOST_WAITING", most)
        in_groups = stage._walked(stage.walker, ids)
        assert [size for group in groups for size in group] == sizes
        assert len(groups) > 1 and all(sum(group) <= most or len(group) == 1 for group in groups)
        assert all(
            np.array_equal(found, expected)
            for one, other in zip(in_groups, at_once, strict=True)
            for found, expected in zip(one, other, strict=True)
        )
