"""Our backbones against the networks of torchvision and timm that they are cut from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from wsss.models import create_backbone
from wsss.models.backbones.torchvision_cpu import timm, torchvision
from wsss.models.pretrained.weights import package_file

MOBILENET_FILE = Path(__file__).parents[3] / "shared/data/weights/mobilenet_v2_features_torchvision.pth"


def randomise(model: Any, seed: int = 0) -> Any:
    """Random weights and statistics, so that nothing is equal by being zero or one."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, -0.5, 0.5),
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 1.5),
            ):
                values.data.uniform_(low, high, generator=generator)
    return model.eval()


def saved(model: nn.Module, folder: Path) -> str:
    path = folder / "full.pth"
    torch.save(model.state_dict(), path)
    return str(path)


@pytest.mark.parametrize("name", ["resnet50", "resnet101"])
def test_resnet_is_torchvisions_up_to_the_last_stage(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    full = randomise(getattr(torchvision.models, name)(weights=None))
    backbone = create_backbone(name, saved(full, tmp_path))  # a full checkpoint: fc.* is left out
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        ours = backbone.forward_taps(x)
        y = full.maxpool(full.relu(full.bn1(full.conv1(x))))
        assert torch.equal(ours["stem"], y)
        for layer in ("layer1", "layer2", "layer3"):
            y = getattr(full, layer)(y)
            assert torch.equal(ours[layer], y)


def test_the_last_resnet_stage_is_torchvisions_built_with_stride_1(tmp_path: Path) -> None:
    torch.manual_seed(0)
    full = randomise(torchvision.models.resnet50(weights=None))
    backbone = create_backbone("resnet50", saved(full, tmp_path))
    full.inplanes = 1024
    stage = full._make_layer(torchvision.models.resnet.Bottleneck, 512, 3, stride=1)
    stage.load_state_dict(full.layer4.state_dict())
    with torch.no_grad():
        ours = backbone.forward_taps(torch.randn(1, 3, 64, 96))
        assert torch.equal(ours["layer4"], stage.eval()(ours["layer3"]))
        # Its first block sees the same neighbours as the strided one, at twice as many places.
        dense, coarse = backbone.layer4[0](ours["layer3"]), full.layer4[0](ours["layer3"])
        torch.testing.assert_close(dense[:, :, ::2, ::2], coarse, rtol=1e-4, atol=1e-3)


def test_dilated_mobilenet_holds_the_strided_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    full = randomise(torchvision.models.mobilenet_v2(weights=None))
    backbone = create_backbone("mobilenet_v2", saved(full, tmp_path))
    x = torch.randn(2, 3, 96, 128)
    with torch.no_grad():
        ours = backbone.forward_taps(x)
        assert torch.equal(ours["blocks13"], full.features[:14](x))
        assert torch.allclose(ours["head"][:, :, ::2, ::2], full.features(x), atol=1e-5)


def lite0_with_classifier() -> Any:
    """Timm's whole network at stride 32, filled from the package's file in order of tensors."""
    stored = torch.load(package_file("efficientnet_lite0"), weights_only=True)
    full = timm.create_model("tf_efficientnet_lite0")
    full.load_state_dict(dict(zip(full.state_dict(), stored.values(), strict=True)))
    return full.eval()


def strided_logits(full: Any, features: Tensor) -> Tensor:
    """Classify dilated features at the places where the strided network has some.

    TensorFlow pads an even grid on its far side only, so that stride 2 looks at odd places.
    """
    return full.classifier(features[:, :, 1::2, 1::2].mean((2, 3)))


def test_packaged_lite0_is_timms_with_the_same_logits() -> None:
    full, backbone = lite0_with_classifier(), create_backbone("efficientnet_lite0", "package")
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = backbone.forward_taps(x)
        y = full.bn1(full.conv_stem(x))
        for number in range(5):
            y = full.blocks[number](y)
            assert torch.equal(ours[f"blocks{number}"], y)
        assert ours["head"].shape == (2, 1280, 14, 14)
        assert torch.allclose(strided_logits(full, ours["head"]), full(x), atol=1e-4)


def test_lite0_tensors_keep_their_meaning() -> None:
    """The file has names of its own: what they say must agree with where each tensor went."""
    stored = torch.load(package_file("efficientnet_lite0"), weights_only=True)
    ours = timm.create_model("tf_efficientnet_lite0").state_dict()
    for theirs, name in zip(stored, ours, strict=True):
        assert theirs.rpartition(".")[2] == name.rpartition(".")[2], (theirs, name)
        assert stored[theirs].shape == ours[name].shape, (theirs, name)


def photos(root: Path, word: str, count: int) -> Tensor:
    """Central 224² crops of photos that show one kind of animal, normalised for Lite0."""
    labels = [
        p for p in sorted((root / "Annotations").glob("*.xml")) if f"<name>{word}</name>" in p.read_text()
    ]
    arrays = []
    for path in labels[:count]:
        image = Image.open(root / "JPEGImages" / f"{path.stem}.jpg").convert("RGB")
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.resize((224, 224), Image.Resampling.BICUBIC, (left, top, left + side, top + side))
        arrays.append((np.asarray(image, np.float32) / 255 - 0.5) / 0.5)
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)


@pytest.mark.parametrize(("word", "first", "last"), [("cat", 281, 285), ("dog", 151, 268)])
def test_packaged_lite0_knows_cats_and_dogs(voc_root: Path, word: str, first: int, last: int) -> None:
    full, backbone = lite0_with_classifier(), create_backbone("efficientnet_lite0", "package")
    with torch.no_grad():
        guesses = strided_logits(full, backbone(photos(voc_root, word, 16))).argmax(1)
    right = ((guesses >= first) & (guesses <= last)).float().mean()
    assert right >= 0.5, f"{right:.2f} of the photos of a {word} are among ImageNet's {first}..{last}"


def test_a_file_of_mobilenet_features_loads() -> None:
    if not MOBILENET_FILE.is_file():
        pytest.skip(f"no weights at {MOBILENET_FILE}")
    backbone = create_backbone("mobilenet_v2", str(MOBILENET_FILE))
    stored = torch.load(MOBILENET_FILE, weights_only=True)
    reference = torchvision.models.mobilenet_v2(weights=None).features
    reference.load_state_dict({name.removeprefix("features."): tensor for name, tensor in stored.items()})
    x = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        assert torch.allclose(backbone(x)[:, :, ::2, ::2], reference.eval()(x), atol=1e-4)
