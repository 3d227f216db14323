"""Any timm network as a backbone: its features as a map, whatever it is inside."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from wsss.errors import ConfigError
from wsss.models import CamNetwork, backbone_class, create_backbone
from wsss.models.backbones.torchvision_cpu import timm


@pytest.mark.parametrize(
    ("name", "channels", "stride"),
    [
        ("timm/vit_tiny_patch16_224", 192, 16),
        ("timm/resnet18", 512, 32),
        ("timm/mobilenetv3_small_050", 288, 32),
    ],
)
def test_features_are_a_map_at_any_size(name: str, channels: int, stride: int) -> None:
    backbone = create_backbone(name, "none").eval()
    assert (backbone.channels, backbone.stride) == (channels, stride)
    for height, width in ((224, 224), (96, 160), (100, 70)):
        with torch.inference_mode():
            shape = backbone(torch.zeros(2, 3, height, width)).shape
        assert shape == (2, channels, -(-height // stride), -(-width // stride))
    assert CamNetwork(backbone, 5)(torch.zeros(1, 3, 64, 64)).logits.shape == (1, 5)


def test_a_transformers_tokens_lie_where_their_patches_are() -> None:
    """Changing one patch changes its own token most."""
    torch.manual_seed(0)
    backbone = create_backbone("timm/vit_tiny_patch16_224", "none").eval()
    image = torch.rand(1, 3, 64, 96)
    changed = image.clone()
    changed[:, :, 16:32, 64:80] += 2.0  # row 1, column 4
    with torch.inference_mode():
        difference = (backbone(changed) - backbone(image)).abs().sum(1)[0]
    assert divmod(int(difference.argmax()), 6) == (1, 4)


def test_weights_of_a_file_are_timms_own(tmp_path: Path) -> None:
    full = timm.create_model("vit_tiny_patch16_224", num_classes=7).eval()
    torch.save(full.state_dict(), tmp_path / "vit.pth")
    backbone = create_backbone("timm/vit_tiny_patch16_224", str(tmp_path / "vit.pth")).eval()
    x = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        tokens = full.forward_features(x)[:, 1:]
        torch.testing.assert_close(backbone(x).flatten(2).transpose(1, 2), tokens)


def test_the_class_token_is_what_timms_own_head_reads() -> None:
    torch.manual_seed(0)
    backbone = create_backbone("timm/vit_tiny_patch16_224", "none").eval()
    assert backbone_class("timm/vit_tiny_patch16_224").has_class_token
    x = torch.rand(2, 3, 224, 224)
    with torch.inference_mode():
        body = backbone.body
        expected = body.forward_head(body.forward_features(x), pre_logits=True)
        found = backbone.class_token(x)
        assert found.shape == (2, 192)
        torch.testing.assert_close(found, expected)
        assert not torch.allclose(found, backbone(x).mean((2, 3)), atol=1e-3)


def test_a_convolutional_network_has_no_class_token() -> None:
    backbone = create_backbone("timm/resnet18", "none")
    assert not backbone_class("timm/resnet18").has_class_token
    with pytest.raises(ConfigError, match="timm/resnet18 has no class token"):
        backbone.class_token(torch.zeros(1, 3, 32, 32))


def test_statistics_are_the_checkpoints_own() -> None:
    assert backbone_class("timm/vit_tiny_patch16_224").mean == (0.5, 0.5, 0.5)
    assert backbone_class("timm/resnet18").mean[0] == pytest.approx(0.485)


def test_an_unknown_model_gets_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"timm has no model 'resnet81' \(did you mean 'resnet\d+"):
        backbone_class("timm/resnet81")


@pytest.mark.parametrize(
    "name",
    [
        "timm/resnet18.hf-hub:x",
        "timm/hf-hub:a/b",
        "timm/local-dir:/tmp",
        "timm/resnet18.",
        "timm/resnet18.nope",
    ],
)
def test_only_what_timm_lists_is_made_and_nothing_is_asked_of_a_hub(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("nothing may be made")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(ConfigError, match="timm has no"):
        backbone_class(name)
