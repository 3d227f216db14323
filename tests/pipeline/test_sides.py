"""What needs no network is made beside a trial's GPU, and costs none of its hours."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import toys
from virtual_gpu import virtual_gpus

from wsss.config import Budget, Resources
from wsss.config.params.stages import (
    AffinityLabelsParams,
    AffinityParams,
    CamsParams,
    ClassifierParams,
    PseudoMasksParams,
)
from wsss.config.stage import STAGES
from wsss.pipeline.chains.chain import SCORES, Chain, Node, Part, build_chain
from wsss.pipeline.chains.execute import run_chain
from wsss.pipeline.events import Moving, StageFinished
from wsss.pipeline.forecasts.forecast import _Line
from wsss.pipeline.search.budget import Meter
from wsss.store.folder_store import Store
from wsss.store.ledger import Ledger


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Toys, of which the second needs no network."""
    monkeypatch.setattr(toys.SinkKind, "place", "serial")
    return toys.install(monkeypatch)


@pytest.fixture
def chain(data: SimpleNamespace) -> Chain:
    parts = [Part("source", "source", toys.ToyParams()), Part("sink", "sink", toys.ToyParams())]
    return build_chain(parts, data, 0)


def told(chain: Chain, store: Store, data: Any, **more: Any) -> list[Any]:
    kinds = (StageFinished, Moving)
    events = run_chain("t", chain, store, data, device="cpu", threads=1, **more)
    return [event for event in events if isinstance(event, kinds)]


def test_a_chain_is_made_in_parts_and_tells_each_end_once(chain: Chain, data: Any, tmp_path: Path) -> None:
    store = Store(tmp_path)
    first, moving = told(chain, store, data, side="gpu")
    assert (first.stage, first.cached) == ("source", False)
    assert moving == Moving("t", "sink", gpu=False, reported=("source",))
    assert store.get(chain["sink"].key) is None
    (second,) = told(chain, store, data, side="cpu", reported=moving.reported)
    assert (second.stage, second.cached) == ("sink", False)
    assert [event.cached for event in told(chain, store, data, side="gpu")] == [True, True], "all is there"


def test_an_input_that_was_lost_meanwhile_is_made_with_the_gpu_again(
    chain: Chain, data: Any, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    _, moving = told(chain, store, data, side="gpu")
    store.set_aside(chain["source"].key)
    (back,) = told(chain, store, data, side="cpu", reported=moving.reported)
    assert back == Moving("t", "source", gpu=True, reported=("source",))
    again, moving = told(chain, store, data, side="gpu", reported=back.reported)
    assert (again.stage, again.cached, moving.stage) == ("source", False, "sink")


def test_without_a_side_everything_is_made_in_one_go(chain: Chain, data: Any, tmp_path: Path) -> None:
    assert [event.stage for event in told(chain, Store(tmp_path), data)] == ["source", "sink"]


def test_what_needs_no_network_is_of_the_cpu_in_a_chain_on_a_gpu(
    chain: Chain, data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices: list[str] = []
    build = toys.Source.__init__

    def built(self: Any, context: Any) -> None:
        devices.append(context.device)
        build(self, context)

    monkeypatch.setattr(toys.Source, "__init__", built)
    store = Store(tmp_path)
    with virtual_gpus():
        list(run_chain("t", chain, store, data, device="cuda", threads=3))
    source, sink = (store.known(node.key) for node in chain.nodes)
    assert source is not None and sink is not None
    assert devices == ["cuda", "cpu"]
    assert (source.record["device"], sink.record["device"]) == ("Virtual GPU", "cpu")
    assert "gpu" in source.record and "gpu" not in sink.record
    assert source.record["threads"] == sink.record["threads"] == 3


def node(label: str, params: Any, stage: str = "") -> Node:
    return Node(label, stage or label, params, {}, label, 0)


def test_which_stages_need_a_gpu_and_how_many_cpus_the_others_take() -> None:
    scores = STAGES[SCORES].model()
    chain = Chain(
        (
            node("classifier", ClassifierParams()),
            node("cams", CamsParams()),
            node("cams.scores", scores(kind="cams"), SCORES),
            node("affinity_labels", AffinityLabelsParams()),
            node("affinity", AffinityParams()),
            node("pseudo_masks", PseudoMasksParams.model_validate({"walk": {}})),
            node("pseudo_masks.scores", scores(kind="pseudo_masks"), SCORES),
            node("by_crf", PseudoMasksParams(), "pseudo_masks"),
        )
    )
    assert [one.side for one in chain.nodes] == ["gpu", "gpu", "cpu", "cpu", "gpu", "gpu", "cpu", "cpu"]
    assert chain.cpus_beside("cams.scores", 8) == 8, "labels come next, by a pool"
    assert Chain(chain.nodes[:3]).cpus_beside("cams.scores", 8) == 1
    assert chain.cpus_beside("by_crf", 8) == 8


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_gpu_hours_count_no_time_without_the_gpu(tmp_path: Path) -> None:
    clock = Clock()
    meter = Meter(Budget(), Ledger(tmp_path), Store(tmp_path / "store"), clock)
    meter.started("t", 0.5)
    for seconds, gpus in ((600, 0.0), (3000, 0.5), (1200, 0.0)):  # then it waits, for ever so long
        clock.now += seconds
        meter.holds("t", gpus)
    clock.now += 9000
    assert meter.spent().gpu_hours == pytest.approx(0.5 * 1800 / 3600)
    meter.ended("t", trial=True)
    meter.holds("t", 0.5)
    clock.now += 9000
    assert meter.spent().gpu_hours == pytest.approx(0.25), "it has ended"


def test_a_forecast_counts_gpu_hours_of_networks_alone() -> None:
    network, other = _Line(by_network=True), _Line()
    for line in (network, other):
        line.seconds.append(7200.0)
    asked = Resources(cpu=2, gpu=0.5)
    assert (network.row(asked)["gpu_hours"], other.row(asked)["gpu_hours"]) == (1.0, 0.0)
    other.seconds.append(None)
    assert other.row(asked)["gpu_hours"] == 0.0, "however long it takes"
