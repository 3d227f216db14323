"""The score of agreement: the best mIoU between CAMs and pseudo masks, and blind to true masks."""

from __future__ import annotations

import numpy as np
import pytest

from wsss.data.view import DataView
from wsss.files import read_json
from wsss.masks.images import read_mask
from wsss.masks.seeds import threshold_mask
from wsss.metrics import THRESHOLDS, confusion, miou
from wsss.pipeline.chains.chain import Chain
from wsss.pipeline.past.results import recorded_result
from wsss.stages.shards import CamShards
from wsss.store.folder_store import Store


def test_it_is_the_best_agreement_over_thresholds(
    calm_store: Store, tiny_chain: Chain, tiny_view: DataView
) -> None:
    node = tiny_chain["agreement"]
    cams = CamShards(calm_store.folder(tiny_chain[node.inputs["cams"]].key))
    masks = calm_store.folder(tiny_chain[node.inputs["pseudo_masks"]].key)
    classes = len(tiny_view.dataset.classes)
    scores = []
    for threshold in THRESHOLDS:
        total = np.zeros((classes + 1, classes + 1), np.int64)
        for id in tiny_view.train:
            total += confusion(read_mask(masks / f"{id}.png"), threshold_mask(*cams[id], threshold), classes)
        scores.append(miou(total))
    found = read_json(calm_store.folder(node.key) / "agreement.json")
    assert found is not None
    assert found["miou"] == pytest.approx(max(scores))
    assert found["threshold"] == THRESHOLDS[scores.index(max(scores))]
    metrics = recorded_result({"agreement": node.key}, calm_store).metrics
    assert metrics == {"agreement/miou": found["miou"], "agreement/threshold": found["threshold"]}


def test_no_true_mask_enters_it(
    tiny_chain: Chain, tiny_view: DataView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its key follows from training images alone, and its work reads no mask of the data set."""
    from wsss.stages.kinds.scoring.agreement import Agreement, AgreementParams

    assert set(Agreement.consumes(AgreementParams(), tiny_view)) == {"images"}
    assert tiny_chain["agreement"].inputs.keys() == {"cams", "pseudo_masks"}
