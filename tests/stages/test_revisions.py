"""A repair that concerns some parameters changes the keys of those, and of what is made from them; no others."""

from __future__ import annotations

from typing import Any

import pytest

from wsss.data.view import DataView
from wsss.files import sha256_json
from wsss.pipeline.chains.chain import Chain, Node, Part, build_chain
from wsss.stages import STAGES

Entry = tuple[str, dict[str, Any]]
CLASSIFIER: Entry = ("classifier", {"backbone": "resnet50", "weights": "none"})
LABELS: list[Entry] = [CLASSIFIER, ("cams", {}), ("affinity_labels", {})]


def chain_of(data: DataView, entries: list[Entry]) -> Chain:
    parts = [Part(stage, stage, STAGES[stage].model().model_validate(params)) for stage, params in entries]
    return build_chain(parts, data, 0)


def by_hand(chain: Chain, node: Node, data: DataView, **more: int) -> str:
    """A key as it was before there were revisions, with what is `more`."""
    stage = STAGES[node.stage]
    content = {
        "stage": node.stage,
        "version": stage.version,
        "params": node.params.content(),
        "inputs": {kind: chain[label].key for kind, label in node.inputs.items()},
        "data": dict(stage.consumes(node.params, data)),
        "seed": 0 if stage.seeded else None,
    }
    return sha256_json({**content, **more})


@pytest.mark.parametrize(
    ("entries", "repaired"),
    [
        (
            [*LABELS, ("affinity", {"weights": "none"}), ("pseudo_masks", {"walk": {}})],
            {"pseudo_masks": 1},
        ),
        ([CLASSIFIER, ("cams", {}), ("pseudo_masks", {})], {}),
        ([*LABELS, ("affinity", {"weights": "none", "backbone": "resnet38"})], {"affinity": 1}),
        (
            [*LABELS, ("affinity", {"weights": "none", "kind": "boundary"}), ("pseudo_masks", {"walk": {}})],
            {"pseudo_masks": 2},
        ),
        (
            [
                CLASSIFIER,
                ("features", {}),
                ("subcategories", {}),
                ("classifier", {**CLASSIFIER[1], "subcategory_weight": 5.0}),
                ("cams", {"head": "subcategories"}),
            ],
            {"cams": 1},
        ),
    ],
    ids=["walk", "crf", "resnet38", "boundary walk", "sub-categories"],
)
def test_other_artefacts_keep_their_keys(
    entries: list[Entry], repaired: dict[str, int], tiny_view: DataView
) -> None:
    chain = chain_of(tiny_view, entries)
    for node in chain.nodes:
        counted = {"revision": repaired[node.label]} if node.label in repaired else {}
        assert node.key == by_hand(chain, node, tiny_view, **counted), node.label
    assert set(repaired) <= {node.label for node in chain.nodes}
