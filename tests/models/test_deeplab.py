"""DeepLabv2: its sizes, its fusion, and its trunks against torchvision's and a released layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from wsss.errors import ConfigError
from wsss.methods.optimiser import PolySchedule, build_optimiser
from wsss.models import DeepLab, create_backbone, dense_class, load_deeplab_pytorch
from wsss.models.backbones.torchvision_cpu import timm, torchvision
from wsss.models.networks.deeplab import Aspp, fuse

TWENTY = [f"class {number}" for number in range(20)]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def randomised(model: Any) -> Any:
    """Statistics that are not the identity, so that nothing is equal by being zero or one."""
    torch.manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.5, 0.5)
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def grid(network: DeepLab, size: int) -> tuple[int, ...]:
    with torch.no_grad():
        return tuple(network.logits(torch.zeros(1, 3, size, size)).shape[1:])


def test_a_resnet101_has_44_million_parameters_and_the_published_grids() -> None:
    network = DeepLab(create_backbone("resnet101", "none", dense=True), TWENTY).eval()
    assert sum(p.numel() for p in network.parameters()) == 44_048_532
    assert [grid(network, size) for size in (321, 240, 160)] == [(21, 41, 41), (21, 31, 31), (21, 21, 21)]


@pytest.mark.parametrize("name", ["resnet50", "resnet101_caffe"])
def test_other_resnets_have_the_same_grids(name: str) -> None:
    network = DeepLab(create_backbone(name, "none", dense=True), ["cat"]).eval()
    assert [grid(network, size) for size in (240, 161)] == [(2, 31, 31), (2, 21, 21)]


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_lite0", "resnet38"])
def test_others_have_a_cell_every_8_pixels(name: str) -> None:
    backbone = create_backbone(name, "none", dense=True).eval()
    assert backbone.stride == 8 and all(tap.stride <= 8 for tap in backbone.taps)
    with torch.no_grad():
        features = backbone.forward_taps(torch.zeros(1, 3, 64, 48))
    for tap in backbone.taps:
        assert features[tap.name].shape == (1, tap.channels, 64 // tap.stride, 48 // tap.stride), tap


def test_a_backbone_that_cannot_be_dense_is_refused_with_those_that_can() -> None:
    with pytest.raises(ConfigError, match=r"timm/resnet18 can't be .* 8 \(one of .*resnet101"):
        dense_class("timm/resnet18")


@pytest.mark.parametrize("name", ["resnet50", "resnet101"])
def test_a_dense_resnet_is_torchvisions_dilated_one(name: str, tmp_path: Path) -> None:
    dilated = [False, True, True]
    full = getattr(torchvision.models, name)(weights=None, replace_stride_with_dilation=dilated)
    randomised(full)
    torch.save(full.state_dict(), tmp_path / "full.pth")
    backbone = create_backbone(name, str(tmp_path / "full.pth"), dense=True).eval()
    x = torch.randn(1, 3, 65, 97)  # 8n + 1 pixels, where covering odd edges changes nothing
    with torch.no_grad():
        y = full.maxpool(full.relu(full.bn1(full.conv1(x))))
        y = full.layer4(full.layer3(full.layer2(full.layer1(y))))
        assert torch.equal(backbone(x), y)


def test_a_dense_lite0_is_timms() -> None:
    full: Any = timm.create_model("tf_efficientnet_lite0", output_stride=8, num_classes=0, global_pool="")
    randomised(full)
    backbone = create_backbone("efficientnet_lite0", "none", dense=True).eval()
    backbone.load_state_dict(full.state_dict(), strict=False)
    x = torch.randn(1, 3, 64, 80)
    with torch.no_grad():
        ours, theirs = backbone(x), full.forward_features(x)
    # Dilated depthwise convolutions add in another order than torch's.
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def test_a_dense_mobilenet_agrees_with_the_strided_one_where_both_have_cells() -> None:
    """With a dilation for every stride left out, a dense network has the strided one's cells among its own."""
    strided: Any = randomised(torchvision.models.mobilenet_v2(weights=None)).features
    backbone: Any = create_backbone("mobilenet_v2", "none", dense=True).eval()
    backbone.features.load_state_dict(strided.state_dict())
    x = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        assert torch.allclose(backbone(x)[:, :, ::4, ::4], strided(x), atol=1e-4)


def test_the_head_is_the_sum_of_four_dilated_convolutions() -> None:
    torch.manual_seed(0)
    head = Aspp(16, 5)
    convolutions = list(head.children())
    assert all(isinstance(conv, nn.Conv2d) for conv in convolutions)
    assert [conv.dilation for conv in convolutions] == [(6, 6), (12, 12), (18, 18), (24, 24)]
    assert all(bool((conv.bias == 0).all()) for conv in convolutions)
    wide = Aspp(2048, 21)
    spread = torch.cat([conv.weight.detach().flatten() for conv in wide.children()]).std()  # type: ignore[union-attr]
    assert float(spread) == pytest.approx(0.01, rel=0.01)
    x = torch.randn(2, 16, 30, 20)
    expected = sum(
        nn.functional.conv2d(x, conv.weight, conv.bias, padding=rate, dilation=rate)
        for conv, rate in zip(convolutions, (6, 12, 18, 24), strict=True)
    )
    assert torch.allclose(head(x), expected, atol=1e-5)


class Toy(nn.Module):
    """Stands in for a backbone: one strided convolution."""

    mean = (0.0, 0.0, 0.0)
    std = (1.0, 1.0, 1.0)
    channels = 4

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=4, padding=1)

    def freeze(self, spec: str) -> None:
        self.requires_grad_(spec == "none")

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


def test_fusion_takes_the_largest_logit_of_all_scales() -> None:
    torch.manual_seed(0)
    network = DeepLab(Toy(), ["cat", "dog"])  # type: ignore[arg-type]
    x = torch.randn(2, 3, 40, 56)
    with torch.no_grad():
        *pyramid, fused = network(x)
        assert len(pyramid) == 3
        by_hand = []
        for scale, logits in zip((1.0, 0.75, 0.5), pyramid, strict=True):
            small = interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)
            expected = network.logits(small)
            assert torch.allclose(logits, expected, atol=1e-6)
            by_hand.append(interpolate(expected, pyramid[0].shape[2:], mode="bilinear", align_corners=False))
        for batch in range(2):
            for output in range(3):
                for row in range(fused.shape[2]):
                    for column in range(fused.shape[3]):
                        values = [float(level[batch, output, row, column]) for level in by_hand]
                        assert float(fused[batch, output, row, column]) == pytest.approx(
                            max(values), abs=1e-6
                        )


def test_the_grid_of_a_fusion_is_that_of_the_scale_nearest_to_1() -> None:
    pyramid = [torch.zeros(1, 2, 9, 9), torch.zeros(1, 2, 6, 6), torch.zeros(1, 2, 3, 3)]
    assert fuse(pyramid, (1.5, 1.0, 0.5)).shape[2:] == (6, 6)
    assert fuse(pyramid[::2], (1.25, 0.5)).shape[2:] == (9, 9)


def test_one_scale_gives_one_output() -> None:
    assert len(DeepLab(Toy(), ["cat"], [1.0])(torch.zeros(1, 3, 16, 16))) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_lite0"])
def test_backbone_weights_learn_at_1_head_weights_at_10_and_head_biases_at_20(name: str) -> None:
    network = DeepLab(create_backbone(name, "none", dense=True), ["cat"])
    optimiser = build_optimiser(
        network.backbone, [network.aspp], lr=2.5e-4, momentum=0.9, weight_decay=5e-4, head_multiplier=10
    )
    found = [(len(g["params"]), g["lr"], g["weight_decay"], g["momentum"]) for g in optimiser.param_groups]
    convolutions = sum(isinstance(module, nn.Conv2d) for module in network.backbone.modules())
    assert found == [
        (convolutions, 2.5e-4, 5e-4, 0.9),
        (4, pytest.approx(2.5e-3), 5e-4, 0.9),
        (4, pytest.approx(5e-3), 0.0, 0.9),
    ]
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert norms and not any(p.requires_grad for norm in norms for p in norm.parameters())
    assert not any(norm.training for norm in norms)
    schedule = PolySchedule(optimiser, 20, 0.9)
    for _ in range(5):
        schedule.step()
    rates = [group["lr"] for group in optimiser.param_groups]
    assert rates == pytest.approx([0.7719 * rate for rate in (2.5e-4, 2.5e-3, 5e-3)], rel=1e-4)


def caffe_checkpoint(outputs: int = 21) -> tuple[dict[str, Tensor], list[tuple[int, int, int, int]]]:
    """A state dict in the layout of `deeplab-pytorch`, written down from its description, and the stages as
    (blocks, width, stride, dilation)."""
    generator = torch.Generator().manual_seed(5)
    tensors: dict[str, Tensor] = {}

    def conv_norm(name: str, inputs: int, channels: int, size: int) -> None:
        scale = (2 / (inputs * size * size)) ** 0.5
        tensors[f"base.{name}.conv.weight"] = scale * torch.randn(
            channels, inputs, size, size, generator=generator
        )
        for last, low, high in (("weight", 0.3, 0.6), ("bias", -0.2, 0.2), ("running_mean", -0.2, 0.2)):
            tensors[f"base.{name}.bn.{last}"] = torch.empty(channels).uniform_(low, high, generator=generator)
        tensors[f"base.{name}.bn.running_var"] = torch.empty(channels).uniform_(0.5, 1.5, generator=generator)
        tensors[f"base.{name}.bn.num_batches_tracked"] = torch.tensor(7)

    stages = [(3, 64, 1, 1), (4, 128, 2, 1), (23, 256, 1, 2), (3, 512, 1, 4)]
    conv_norm("layer1.conv1", 3, 64, 7)
    inputs = 64
    for number, (blocks, width, _, _) in enumerate(stages, start=2):
        for block in range(1, blocks + 1):
            name = f"layer{number}.block{block}"
            conv_norm(f"{name}.reduce", inputs, width, 1)
            conv_norm(f"{name}.conv3x3", width, width, 3)
            conv_norm(f"{name}.increase", width, 4 * width, 1)
            if block == 1:
                conv_norm(f"{name}.shortcut", inputs, 4 * width, 1)
            inputs = 4 * width
    for number in range(4):
        weight = 0.01 * torch.randn(outputs, 2048, 3, 3, generator=generator)
        tensors[f"base.aspp.c{number}.weight"] = weight
        tensors[f"base.aspp.c{number}.bias"] = torch.randn(outputs, generator=generator)
    return tensors, stages


def caffe_logits(tensors: dict[str, Tensor], stages: list[tuple[int, int, int, int]], x: Tensor) -> Tensor:
    """What that network answers to blue, green, red in 0–255 minus their means, computed from its tensors."""
    functional = nn.functional

    def conv_norm(name: str, x: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
        weight = tensors[f"base.{name}.conv.weight"]
        padding = dilation * (weight.shape[-1] // 2)
        y = functional.conv2d(x, weight, None, stride, padding, dilation)
        parts = [
            tensors[f"base.{name}.bn.{last}"] for last in ("running_mean", "running_var", "weight", "bias")
        ]
        return functional.batch_norm(y, *parts, eps=1e-5)

    x = functional.max_pool2d(conv_norm("layer1.conv1", x, 2).relu(), 3, 2, 1, ceil_mode=True)
    for number, (blocks, _, stride, dilation) in enumerate(stages, start=2):
        for block in range(1, blocks + 1):
            name, first = f"layer{number}.block{block}", stride if block == 1 else 1
            y = conv_norm(f"{name}.reduce", x, first).relu()
            y = conv_norm(f"{name}.increase", conv_norm(f"{name}.conv3x3", y, 1, dilation).relu())
            x = (y + (conv_norm(f"{name}.shortcut", x, first) if block == 1 else x)).relu()
    heads = [
        functional.conv2d(
            x, tensors[f"base.aspp.c{n}.weight"], tensors[f"base.aspp.c{n}.bias"], padding=rate, dilation=rate
        )
        for n, rate in enumerate((6, 12, 18, 24))
    ]
    return heads[0] + heads[1] + heads[2] + heads[3]


def test_a_checkpoint_of_the_released_layout_gives_its_networks_logits(tmp_path: Path) -> None:
    tensors, stages = caffe_checkpoint()
    torch.save(tensors, tmp_path / "deeplabv2_resnet101_msc-voc.pth")
    network = load_deeplab_pytorch(tmp_path / "deeplabv2_resnet101_msc-voc.pth", TWENTY)
    rgb = torch.randint(0, 256, (1, 3, 66, 49), generator=torch.Generator().manual_seed(1)).float()
    bgr = rgb.flip(1) - torch.tensor([104.008, 116.669, 122.675]).view(1, 3, 1, 1)
    x = (rgb / 255 - torch.tensor(network.mean).view(1, 3, 1, 1)) / torch.tensor(network.std).view(1, 3, 1, 1)
    with torch.no_grad():
        ours, theirs = network.logits(x), caffe_logits(tensors, stages, bgr)
    assert ours.shape == theirs.shape == (1, 21, 9, 7)
    assert float(theirs.std()) > 0.1
    assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-3 * float(theirs.abs().max()))

    trunk = create_backbone("resnet101_caffe", str(tmp_path / "deeplabv2_resnet101_msc-voc.pth"), dense=True)
    with torch.no_grad():
        assert torch.equal(trunk.eval()(x), network.backbone(x))

    with pytest.raises(ConfigError, match=r"has 21 outputs in aspp.c0, but must have 3"):
        load_deeplab_pytorch(tmp_path / "deeplabv2_resnet101_msc-voc.pth", ["cat", "dog"])


def test_files_of_other_layouts_are_refused_by_name(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "torchvision.pth")
    for load in (
        lambda: load_deeplab_pytorch(tmp_path / "torchvision.pth", TWENTY),
        lambda: create_backbone("resnet101_caffe", str(tmp_path / "torchvision.pth"), dense=True),
    ):
        with pytest.raises(ConfigError, match=r"torchvision.pth: has no layer1.conv1.conv.weight.*resnet101"):
            load()
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(ConfigError, match="not a readable file of tensors"):
        load_deeplab_pytorch(tmp_path / "text.pth", TWENTY)
