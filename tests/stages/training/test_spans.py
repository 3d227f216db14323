"""A classifier trained in parts: the same bits as in one go, and other ones once something changes on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from wsss.config.params.methods import expand_method
from wsss.config.params.stages import ClassifierParams
from wsss.data.view import DataView
from wsss.pipeline.chains.chain import Part, build_chain
from wsss.pipeline.chains.execute import run_chain
from wsss.pipeline.events import TrialProgress
from wsss.store.folder_store import Store

SMALL = {
    "method": "fmix", "backbone": "efficientnet_lite0", "epochs": 3, "batch": 4, "crop": 64,
    "long_side": [64, 96], "rung": {"images": 2, "every": 3},
}  # fmt: skip


def params(**changes: Any) -> ClassifierParams:
    return ClassifierParams.model_validate(expand_method({**SMALL, **changes}))


def train(
    data: DataView, store: Store, *parts: ClassifierParams, every: int = 0
) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    """Train parts one after the other, stopped after every `every` steps; return weights and history."""
    chain = build_chain([Part("classifier", f"part{n}", one) for n, one in enumerate(parts)], data, 0)
    while True:
        events = run_chain("t", chain, store, data, device="cpu", threads=1, checkpoint_seconds=0)
        steps = 0
        for event in events:
            steps += isinstance(event, TrialProgress) and not event.replayed
            if every and steps == every:
                events.close()
                break
        else:
            break
    artefacts = [store.known(node.key) for node in chain.nodes]
    history = [step for artefact in artefacts if artefact for step in artefact.record["history"]]
    return load_file(store.folder(chain.nodes[-1].key) / "classifier.safetensors"), history


def test_in_parts_it_ends_in_the_same_bits(tiny_view: DataView, tmp_path: Path) -> None:
    whole, course = train(tiny_view, Store(tmp_path / "whole"), params())
    parts = [params(span=(0, 1)), params(span=(1, 3))]
    found, steps = train(tiny_view, Store(tmp_path / "parts"), *parts)
    assert all(torch.equal(whole[key], found[key]) for key in whole)
    assert [step["loss"] for step in steps] == [step["loss"] for step in course]
    assert [step["lr"] for step in steps] == [step["lr"] for step in course], "one schedule"
    assert ["rung_score" in step for step in steps] == [True, False, True], "every part ends in a score"
    killed, _ = train(tiny_view, Store(tmp_path / "killed"), *parts, every=1)
    assert all(torch.equal(whole[key], killed[key]) for key in whole)


def test_what_changes_on_the_way_changes_what_comes_after(tiny_view: DataView, tmp_path: Path) -> None:
    store = Store(tmp_path)
    plain, before = train(tiny_view, store, params(span=(0, 2)), params(span=(2, 3)))
    for change in ({"lr": 0.02}, {"weight_decay": 0.05}, {"entropy": {"weight": 0.5}}):
        other, steps = train(tiny_view, store, params(span=(0, 2)), params(span=(2, 3), **change))
        assert any(not torch.equal(plain[key], other[key]) for key in plain), change
        assert steps[:2] == before[:2], "the first part is the same artefact"
    doubled = train(tiny_view, store, params(span=(0, 2)), params(span=(2, 3), lr=0.02))[1]
    assert doubled[2]["lr"] == pytest.approx(2 * before[2]["lr"])


def test_a_span_lies_within_the_epochs() -> None:
    with pytest.raises(
        ValidationError, match=r"`span` is \[1, 4\], but must be \[from, to\] within 3 epochs"
    ):
        params(span=(1, 4))
    assert "span" not in params().content()
