"""Every method trains, and its own signal reaches the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from wsss.config.methods import METHODS, expand_method
from wsss.config.params import CamsParams, ClassifierParams, FeaturesParams, SubcategoriesParams
from wsss.data.view import DataView
from wsss.errors import StageError
from wsss.pipeline.chain import Chain, Part, build_chain
from wsss.pipeline.events import TrialProgress
from wsss.pipeline.execute import run_chain
from wsss.pipeline.store import Store
from wsss.stages.network import load_classifier

SMALL = {
    "backbone": "efficientnet_lite0", "epochs": 2, "batch": 4, "crop": 64, "long_side": [64, 96],
    "rung": {"images": 0}, "head_multiplier": 3.0,
}  # fmt: skip
COMPOSED: dict[str, dict[str, Any]] = {
    **{name: {"method": name} for name in METHODS},
    "everything at once": {
        "method": "manifold_mixup", "subcategory_weight": 2.0, "distillation": {"weight": 0.5, "temperature": 4},
        "entropy": {"weight": 0.1, "kind": "softmax"}, "concentration": {"weight": 0.3, "coordinates": "scops"},
    },
    "fmix with sub-categories": {"method": "fmix", "subcategory_weight": 5.0},
}  # fmt: skip


def chain_of(data: DataView, params: dict[str, Any], seed: int = 0) -> Chain:
    resolved = ClassifierParams.model_validate(expand_method({**SMALL, **params}))
    own = Part("classifier", "classifier", resolved)
    before: list[Part] = []
    if resolved.subcategory_weight:
        first = ClassifierParams.model_validate(expand_method({**SMALL, "method": "probe", "epochs": 1}))
        clusters = SubcategoriesParams(algorithm="finch", level=0)  # k-means wants more images
        before = [
            Part("classifier", "first", first),
            Part("features", "features", FeaturesParams(size=64)),
            Part("subcategories", "subcategories", clusters),
        ]
    return build_chain([*before, own], data, seed)


def train(data: DataView, store: Store, params: dict[str, Any], seed: int = 0) -> dict[str, torch.Tensor]:
    chain = chain_of(data, params, seed)
    list(run_chain("t", chain, store, data, device="cpu", threads=1))
    return load_file(store.folder(chain["classifier"].key) / "classifier.safetensors")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("methods"))


@pytest.mark.parametrize("name", COMPOSED)
def test_it_trains_and_resumes_to_the_same_bits(
    name: str, tiny_view: DataView, store: Store, tmp_path: Path
) -> None:
    calm = train(tiny_view, store, COMPOSED[name])
    chain, other = chain_of(tiny_view, COMPOSED[name]), Store(tmp_path / "killed")
    for _ in range(40):
        events = run_chain("t", chain, other, tiny_view, device="cpu", threads=1, checkpoint_seconds=0)
        if not any(isinstance(event, TrialProgress) and not events.close() for event in events):  # type: ignore[attr-defined]
            break
    killed = load_file(other.folder(chain["classifier"].key) / "classifier.safetensors")
    assert set(killed) == set(calm)
    assert all(torch.equal(killed[key], calm[key]) for key in calm)
    network = load_classifier(other.folder(chain["classifier"].key))
    assert network.cam(torch.rand(1, 3, 64, 64)).isfinite().all()


def different(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> set[str]:
    return {key for key in a.keys() & b.keys() if not torch.equal(a[key], b[key])}


@pytest.mark.parametrize(
    ("signal", "without"),
    [
        ({"method": "mixup", "entropy": {"weight": 0.5}}, {"method": "mixup", "entropy": {"weight": 0.0}}),
        (
            {"method": "fmix", "concentration": {"weight": 1.0}},
            {"method": "fmix", "concentration": {"weight": 0.0}},
        ),
        ({"method": "mixup", "mixing": {"alpha": 1.0}}, {"method": "mixup", "mixing": {"alpha": 0.2}}),
        ({"method": "fmix"}, {"method": "mixup", "mixing": {"alpha": 1.0}}),
        ({"method": "manifold_mixup", "mixing": {"taps": ["blocks4"]}}, {"method": "mixup"}),
        ({"method": "subcategory_exploration"}, {"method": "cam"}),
        (
            {"method": "subcategory_teaching"},
            {"method": "subcategory_exploration", "subcategory_weight": 2.0},
        ),
        (
            {"method": "subcategory_teaching", "distillation": {"temperature": 8.0}},
            {"method": "subcategory_teaching"},
        ),
    ],
    ids=[
        "entropy",
        "concentration",
        "alpha",
        "fmix",
        "manifold",
        "sub-labels",
        "distillation",
        "temperature",
    ],
)
def test_its_signal_reaches_head_and_backbone(
    signal: dict[str, Any], without: dict[str, Any], tiny_view: DataView, store: Store
) -> None:
    """A loss that is computed from constants, or detached on the way, would change nothing."""
    changed = different(train(tiny_view, store, signal), train(tiny_view, store, without))
    assert "head.weight" in changed
    assert any(key.startswith("backbone.") for key in changed)


@pytest.mark.parametrize(
    ("spelt", "plain"),
    [
        ({"method": "manifold_mixup", "mixing": {"taps": ["input"]}}, {"method": "mixup"}),
        ({"method": "subcategory_exploration", "subcategory_weight": 0.0}, {"method": "cam"}),
        (
            {"method": "subcategory_teaching", "distillation": {"weight": 0.0}},
            {"method": "subcategory_exploration", "subcategory_weight": 2.0},
        ),
    ],
    ids=["manifold at the input is mixup", "weight 0 is plain", "no distillation is hard labels"],
)
def test_what_should_be_the_same_is_the_same_bit_for_bit(
    spelt: dict[str, Any], plain: dict[str, Any], tiny_view: DataView, store: Store
) -> None:
    assert not different(train(tiny_view, store, spelt), train(tiny_view, store, plain))


SWITCHES: dict[str, dict[str, Any]] = {
    "entropy of labels": {"method": "mixup", "entropy": {"weight": 0.5, "of": "labels"}},
    "legacy concentration": {"method": "mixup", "concentration": {"weight": 2e-4, "coordinates": "legacy"}},
    "legacy optimiser": {"method": "mixup", "optimiser": "legacy"},
    "legacy masks": {"method": "fmix", "mixing": {"sampler": "legacy"}},
    "nothing mixed": {"method": "mixup", "mixing": {"fixed": 1.0}},
    "pixel masks": {"supervision": "masks"},
}


@pytest.mark.parametrize("name", SWITCHES)
def test_every_switch_makes_another_artefact_and_a_sound_network(
    name: str, tiny_view: DataView, store: Store
) -> None:
    repaired = {"method": SWITCHES[name].get("method", "cam")}
    assert (
        chain_of(tiny_view, SWITCHES[name])["classifier"].key
        != chain_of(tiny_view, repaired)["classifier"].key
    )
    weights = train(tiny_view, store, SWITCHES[name])
    assert all(value.isfinite().all() for value in weights.values())
    assert "head.weight" in different(weights, train(tiny_view, store, repaired))


def test_a_switch_that_is_off_is_no_part_of_any_key() -> None:
    content = ClassifierParams().content()
    assert "supervision" not in content and "optimiser" not in content
    assert "fixed" not in content["mixing"] and content["mixing"]["alpha"] == 0.2
    on = ClassifierParams.model_validate({"optimiser": "legacy", "mixing": {"fixed": 1.0}}).content()
    assert on["optimiser"] == "legacy" and on["mixing"]["fixed"] == 1.0
    assert CamsParams().content() == {"scales": [0.5, 1.0, 1.5, 2.0], "flip": True, "size": None}


def test_maps_of_sub_categories_can_be_scored_as_a_diagnostic(tiny_view: DataView, store: Store) -> None:
    chain = chain_of(tiny_view, {"method": "subcategory_exploration"})
    parts = [Part(node.stage, node.label, node.params) for node in chain.nodes]
    diagnostic = build_chain(
        [*parts, Part("cams", "cams", CamsParams(scales=(1.0,), head="subcategories"))], tiny_view, 0
    )
    list(run_chain("t", diagnostic, store, tiny_view, device="cpu", threads=1))
    plain = build_chain([*parts, Part("cams", "cams", CamsParams(scales=(1.0,)))], tiny_view, 0)
    assert diagnostic["cams"].key != plain["cams"].key
    assert store.get(diagnostic["cams.scores"].key) is not None
    without = build_chain(
        [*[Part(node.stage, node.label, node.params) for node in chain_of(tiny_view, {}).nodes],
         Part("cams", "cams", CamsParams(head="subcategories"))], tiny_view, 0,
    )  # fmt: skip
    with pytest.raises(StageError, match="was trained without"):
        list(run_chain("t", without, store, tiny_view, device="cpu", threads=1))
