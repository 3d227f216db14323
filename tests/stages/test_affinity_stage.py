"""What only the affinity stage can know: which backbones it can use, said while a study is planned."""

from __future__ import annotations

import pytest

from wsss.config.params import AffinityParams
from wsss.data.view import DataView
from wsss.errors import ConfigError
from wsss.stages.affinity import Affinity


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
