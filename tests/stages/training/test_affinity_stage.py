"""What only the affinity stage can know: which backbones it can use, and whether it learns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from wsss.config import load_study_text
from wsss.config.params.stages import AffinityParams
from wsss.data.view import DataView
from wsss.errors import ConfigError
from wsss.masks.images import write_mask
from wsss.masks.pairs import affinity_loss
from wsss.models import AffinityNetwork
from wsss.pipeline.chains.chain import build_chain
from wsss.pipeline.search.trials import sweep_trials
from wsss.stages import STAGES
from wsss.stages.contract import Context
from wsss.stages.training import affinity as module
from wsss.stages.training.affinity import Affinity, load_affinity


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
        STAGES["affinity"].consumes(AffinityParams.model_validate(params), tiny_view)


def test_pairs_of_a_boundary_cannot_be_cropped() -> None:
    with pytest.raises(ValueError, match="`pairs: cropped` belongs to `kind: affinity`"):
        AffinityParams.model_validate({"kind": "boundary", "pairs": "cropped"})


STUDY = """
name: keys
data: {{dataset: sample}}
sweeps:
  - name: cam
    arms:
      walk:
        stages:
          - classifier: {{backbone: efficientnet_lite0}}
          - cams
          - affinity_labels: {{low: {low}}}
          - affinity: {{backbone: efficientnet_lite0, lr: {lr}, radius: {radius}}}
          - pseudo_masks: {{walk: {{radius: {walk}}}}}
"""


def test_keys_of_labels_change_with_what_labels_are_made_of_alone(tiny_view: DataView) -> None:
    def keys(**changed: float) -> tuple[str, str, str]:
        values = {"low": 4, "lr": 0.01, "radius": 5, "walk": 5} | changed
        study = load_study_text(STUDY.format(**values), source="keys.yaml", base=Path("/"))
        chain = build_chain(sweep_trials(study, study.sweeps[0], [], tiny_view)[0].parts, tiny_view, 0)
        return chain["affinity_labels"].key, chain["affinity"].key, chain["pseudo_masks"].key

    labels, affinity, masks = keys()
    for changed in ({"lr": 0.02}, {"radius": 4}):
        found = keys(**changed)
        assert found[0] == labels and found[1] != affinity and found[2] != masks
    found = keys(walk=4)
    assert found[:2] == (labels, affinity) and found[2] != masks
    assert not {labels, affinity, masks} & {*keys(low=2)}


def test_cropped_pairs_are_fewer_and_it_learns_from_them(tiny_view: DataView, tmp_path: Path) -> None:
    """A grid of 8 × 8 at radius 3: (8 − 2) · (8 − 4) first cells with 12 pairs each."""
    for id in tiny_view.train:
        write_mask(tmp_path / f"{id}.png", tiny_view.dataset.mask(id))
    counts, losses = [], []
    for pairs in ("cropped", "full"):
        params = AffinityParams.model_validate({
            "pairs": pairs, "backbone": "efficientnet_lite0", "epochs": 2, "batch": 2, "crop": 64, "radius": 3,
        })  # fmt: skip
        torch.manual_seed(0)
        stage = Affinity(Context(params, {"affinity_labels": tmp_path}, tiny_view, 0, "cpu", 1, tmp_path))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                module,
                "affinity_loss",
                lambda found, of: counts.append(len(found)) or affinity_loss(found, of),
            )
            losses.append([stage.step()["loss"] for _ in range(2)])
        (tmp_path / pairs).mkdir()
        assert stage.finish(tmp_path / pairs)["pairs"] == 12
        assert isinstance(load_affinity(tmp_path / pairs), AffinityNetwork)
    cropped = counts[: len(counts) // 2]
    assert set(cropped) == {2 * 24 * 12} and min(counts[len(cropped) :]) > 2 * 24 * 12
    assert all(0 < loss < 10 for loss in losses[0]) and losses[0] != losses[1]


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
