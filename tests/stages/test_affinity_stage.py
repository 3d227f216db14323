"""What only the affinity stage can know: which backbones it can use, and whether it learns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from wsss.config.params import AffinityParams
from wsss.data.view import DataView
from wsss.errors import ConfigError
from wsss.masks.images import write_mask
from wsss.stages.affinity import Affinity
from wsss.stages.contract import Context


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"backbone": "timm/resnet18"}, "timm/resnet18 has no taps for affinities"),
        ({"backbone": "timm/resnet18", "kind": "boundary"}, "timm/resnet18 has no taps for affinities"),
        ({"backbone": "efficientnet_lite0", "freeze": "blocks9"}, "efficientnet_lite0 has no tap 'blocks9'"),
        ({"backbone": "resnet5"}, "there is no backbone 'resnet5'"),
    ],
)
def test_a_backbone_that_does_not_fit_is_refused_before_anything_is_trained(
    params: dict[str, str], message: str, tiny_view: DataView
) -> None:
    with pytest.raises(ConfigError, match=message):
        Affinity.consumes(AffinityParams.model_validate(params), tiny_view)


def test_pairs_of_a_boundary_cannot_be_cropped() -> None:
    with pytest.raises(ValueError, match="`pairs: cropped` belongs to `kind: affinity`"):
        AffinityParams.model_validate({"kind": "boundary", "pairs": "cropped"})


@pytest.mark.parametrize("kind", ["affinity", "boundary"])
def test_it_learns_which_neighbours_belong_together(kind: str, tiny_view: DataView, tmp_path: Path) -> None:
    """From true masks: pairs of different labels come apart from the others, on the photos as they are."""
    for id in tiny_view.train:
        write_mask(tmp_path / f"{id}.png", tiny_view.dataset.mask(id))
    params = AffinityParams.model_validate({
        "kind": kind, "backbone": "efficientnet_lite0", "epochs": 8, "batch": 4, "crop": 64,
        "long_side": [64, 64], "color_jitter": False, "lr": 0.03, "grad_clip": 0, "radius": 3,
    })  # fmt: skip
    torch.manual_seed(0)
    stage = Affinity(Context(params, {"affinity_labels": tmp_path}, tiny_view, 0, "cpu", 1, tmp_path))
    before = {name: value.clone() for name, value in stage.network.state_dict().items()}
    history = [stage.step() for _ in range(stage.steps)]
    stage.batches.close()
    gaps = [m["affinity/background"] - m["affinity/different"] for m in (history[0], history[-1])]
    assert history[-1]["loss"] < history[0]["loss"]
    assert gaps[1] - gaps[0] > {"affinity": 0.05, "boundary": 0.25}[kind]
    changed = {n for n, v in stage.network.state_dict().items() if not torch.equal(v, before[n])}
    assert "mix.weight" in changed
    assert any(name.startswith("reduce.") for name in changed)
    assert any(name.startswith("backbone.") for name in changed) is (kind == "affinity")
