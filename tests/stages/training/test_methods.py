"""Every method trains, and its own signal reaches the weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from wsss.config.params.methods import METHODS, expand_method
from wsss.config.params.stages import (
    CamsParams,
    ClassifierParams,
    FeaturesParams,
    SubcategoriesParams,
    classifier_params,
)
from wsss.data.batches.loader import evaluation_image
from wsss.data.view import DataView
from wsss.errors import ConfigError
from wsss.pipeline.chains.chain import Chain, Part, build_chain
from wsss.pipeline.chains.execute import run_chain
from wsss.pipeline.events import TrialProgress
from wsss.stages.training.network import load_classifier
from wsss.store.folder_store import Store

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
    "all ways to hide, and cutmix": {
        "method": "cutmix", "hide_and_seek": {"probability": 0.5}, "random_erasing": {"probability": 0.5},
    },
}  # fmt: skip


def chain_of(data: DataView, params: dict[str, Any], seed: int = 0) -> Chain:
    resolved = classifier_params().model_validate(expand_method({**SMALL, **params}))
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
        ({"method": "cutmix"}, {"method": "mixup", "mixing": {"alpha": 1.0}}),
        ({"method": "hide_and_seek"}, {"method": "cam"}),
        ({"method": "random_erasing"}, {"method": "cam"}),
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
        "cutmix",
        "hide-and-seek",
        "random erasing",
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
        ({"method": "hide_and_seek", "hide_and_seek": {"probability": 0.0}}, {"method": "cam"}),
        (
            {"method": "subcategory_teaching", "distillation": {"weight": 0.0}},
            {"method": "subcategory_exploration", "subcategory_weight": 2.0},
        ),
    ],
    ids=[
        "manifold at the input is mixup",
        "weight 0 is plain",
        "nothing is hidden",
        "no distillation is hard labels",
    ],
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
    "dropout": {"dropout": 0.5},
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
    assert not {"supervision", "optimiser", "dropout"} & set(content)
    assert FeaturesParams().content() == {"size": None}
    assert "fixed" not in content["mixing"] and content["mixing"]["alpha"] == 0.2
    on = ClassifierParams.model_validate({"optimiser": "legacy", "mixing": {"fixed": 1.0}}).content()
    assert on["optimiser"] == "legacy" and on["mixing"]["fixed"] == 1.0
    assert classifier_params()().content() == content, "ways to hide that are off"
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
    without = [Part(node.stage, node.label, node.params) for node in chain_of(tiny_view, {}).nodes]
    with pytest.raises(ConfigError, match="needs a classifier with sub-categories, but this one has none"):
        build_chain([*without, Part("cams", "cams", CamsParams(head="subcategories"))], tiny_view, 0)


def test_rounds_of_exploration_go_on_from_each_other(tiny_view: DataView, store: Store) -> None:
    """Each round clusters what the classifier before it sees, and trains a new one from the start."""
    first = chain_of(tiny_view, {"method": "subcategory_exploration"})
    middle = [Part(node.stage, node.stage, node.params) for node in first.nodes[1:]]
    chain = build_chain([Part("classifier", "round0", first.nodes[0].params), *3 * middle], tiny_view, 0)
    list(run_chain("t", chain, store, tiny_view, device="cpu", threads=1))
    rounds = [chain[label] for label in ("classifier", "classifier2", "classifier3")]
    assert [chain[label].inputs["classifier"] for label in ("features", "features2", "features3")] == [
        "round0", "classifier", "classifier2",
    ]  # fmt: skip
    assert [node.inputs["subcategories"] for node in rounds] == [
        "subcategories", "subcategories2", "subcategories3",
    ]  # fmt: skip
    found = []
    for label in ("features", "features2", "features3"):
        with np.load(store.folder(chain[label].key) / "features.npz", allow_pickle=False) as stored:
            ids, features = stored["ids"], stored["features"]
        network = load_classifier(store.folder(chain[chain[label].inputs["classifier"]].key)).eval()
        photo = tiny_view.dataset.image(str(ids[0]))
        x = torch.as_tensor(evaluation_image(photo, 64, network.mean, network.std))[None]
        with torch.inference_mode():
            pooled = network.backbone(x).mean((2, 3))[0].numpy()
        np.testing.assert_allclose(features[0], pooled, atol=1e-4)  # its norms are not folded
        found.append(features)
    assert not np.allclose(found[0], found[1], atol=1e-3), "a new network was trained and looked at"
    for node in rounds:
        sizes = json.loads((store.folder(node.key) / "classifier.json").read_text())["parent"]
        clusters = store.folder(chain[node.inputs["subcategories"]].key) / "subcategories.npz"
        with np.load(clusters, allow_pickle=False) as stored:
            assert sizes == stored["parent"].tolist()


def test_features_are_the_class_token_of_a_transformer(tiny_view: DataView, store: Store) -> None:
    name = "timm/vit_tiny_patch16_224"
    teacher = ClassifierParams.model_validate(
        expand_method({**SMALL, "method": "probe", "backbone": name, "weights": "none", "epochs": 1})
    )
    parts = [Part("classifier", "teacher", teacher)]
    chains = {
        kind: build_chain(
            [*parts, Part("features", "features", FeaturesParams(size=64, embedding=kind))], tiny_view, 0
        )
        for kind in ("pooled", "class_token")
    }
    found = {}
    for kind, chain in chains.items():
        list(run_chain("t", chain, store, tiny_view, device="cpu", threads=1))
        with np.load(store.folder(chain["features"].key) / "features.npz", allow_pickle=False) as stored:
            found[kind], ids = stored["features"], stored["ids"]
    network = load_classifier(store.folder(chains["pooled"]["teacher"].key)).eval()
    photo = tiny_view.dataset.image(str(ids[3]))
    x = torch.as_tensor(evaluation_image(photo, 64, network.mean, network.std))[None]
    with torch.inference_mode():
        token, map_ = network.backbone.class_token(x)[0], network.backbone(x)[0]
    np.testing.assert_allclose(found["class_token"][3], token.numpy(), atol=1e-5)
    np.testing.assert_allclose(found["pooled"][3], map_.mean((1, 2)).numpy(), atol=1e-5)


def test_a_network_without_a_class_token_is_refused_while_a_study_is_planned(tiny_view: DataView) -> None:
    plain = ClassifierParams.model_validate(SMALL)
    token = FeaturesParams(embedding="class_token")
    with pytest.raises(ConfigError, match="but efficientnet_lite0 has no class token"):
        build_chain([Part("classifier", "a", plain), Part("features", "features", token)], tiny_view, 0)
