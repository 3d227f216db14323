"""Checkpoints with the names and shapes of IRN's, PSA's and SEAM's: trunks and heads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from wsss.errors import ConfigError
from wsss.models import create_backbone
from wsss.models.pretrained.layouts import LAYOUTS, layout_of, published_head


def numbered(*shape: int) -> Tensor:
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(shape)


@pytest.fixture(scope="module")
def resnet() -> dict[str, Tensor]:
    torch.manual_seed(3)
    return dict(create_backbone("resnet50", "none").state_dict())


@pytest.fixture(scope="module")
def wide() -> dict[str, Tensor]:
    """ResNet-38's names and shapes; one number each, so that the files stay small."""
    with torch.device("meta"):
        empty = create_backbone("resnet38", "none").state_dict()
    return {
        name: torch.tensor(0.001 * number).expand(tensor.shape)
        for number, (name, tensor) in enumerate(empty.items())
        if not name.endswith("num_batches_tracked")
    }


def irn(trunk: dict[str, Tensor], stages: dict[str, str]) -> dict[str, Tensor]:
    """The trunk as IRN's networks have it: itself, each stage again, and each stage in a list of them."""
    found = {f"resnet50.{name}": tensor for name, tensor in trunk.items()}
    order = list(dict.fromkeys(place.partition(".")[0] for place in stages.values()))
    for name, tensor in trunk.items():
        part, _, rest = name.partition(".")
        stage, _, place = stages[part].partition(".")
        found[f"{stage}.{place}.{rest}"] = found[f"backbone.{order.index(stage)}.{place}.{rest}"] = tensor
    return found


def cam_net(trunk: dict[str, Tensor], classes: int = 20) -> dict[str, Tensor]:
    stages = {"conv1": "stage1.0", "bn1": "stage1.1", "layer1": "stage1.4"}
    stages |= {"layer2": "stage2.0", "layer3": "stage3.0", "layer4": "stage4.0"}
    head = numbered(classes, 2048, 1, 1)
    return {**irn(trunk, stages), "classifier.weight": head, "newly_added.0.weight": head}


def boundary_net(trunk: dict[str, Tensor]) -> dict[str, Tensor]:
    stages = {"conv1": "stage1.0", "bn1": "stage1.1"} | {f"layer{n}": f"stage{n + 1}.0" for n in range(1, 5)}
    found = irn(trunk, stages)
    for number, channels in enumerate((64, 256, 512, 1024, 2048), start=1):
        found[f"fc_edge{number}.0.weight"] = found[f"edge_layers.{number - 1}.0.weight"] = torch.zeros(
            32, channels, 1, 1
        )
        found[f"fc_edge{number}.1.weight"] = found[f"fc_edge{number}.1.bias"] = torch.zeros(32)
        found[f"fc_dp{number}.0.weight"] = found[f"dp_layers.{number - 1}.0.weight"] = torch.zeros(
            64, channels, 1, 1
        )
    return {**found, "fc_edge6.weight": torch.zeros(1, 160, 1, 1), "fc_edge6.bias": torch.zeros(1),
            "fc_dp7.4.running_mean": torch.zeros(2)}  # fmt: skip


def psa(trunk: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**trunk, "fc8.weight": numbered(20, 4096, 1, 1)}


def psa_affinity(trunk: dict[str, Tensor]) -> dict[str, Tensor]:
    layers = {"f8_3": (64, 512), "f8_4": (128, 1024), "f8_5": (256, 4096), "f9": (448, 448)}
    return {**trunk, **{f"{name}.weight": torch.zeros(*shape, 1, 1) for name, shape in layers.items()}}


def seam(trunk: dict[str, Tensor]) -> dict[str, Tensor]:
    layers = {"f8_3": (64, 512), "f8_4": (128, 1024), "f9": (192, 195)}
    own = {f"{name}.weight": torch.zeros(*shape, 1, 1) for name, shape in layers.items()}
    return {**trunk, **own, "fc8.weight": numbered(21, 4096, 1, 1)}


@pytest.mark.parametrize("published", [cam_net, boundary_net])
@pytest.mark.parametrize("parallel", ["", "module."])
def test_irns_networks_give_their_trunk(
    resnet: dict[str, Tensor], tmp_path: Path, published: object, parallel: str
) -> None:
    state = {f"{parallel}{name}": tensor for name, tensor in published(resnet).items()}  # type: ignore[operator]
    torch.save(state, tmp_path / "res50.pth")
    loaded = create_backbone("resnet50", str(tmp_path / "res50.pth")).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in resnet.items())


@pytest.mark.parametrize("published", [psa, psa_affinity, seam])
def test_networks_on_resnet38_give_their_trunk(
    wide: dict[str, Tensor], tmp_path: Path, published: object
) -> None:
    torch.save(published(wide), tmp_path / "res38.pth")  # type: ignore[operator]
    loaded = create_backbone("resnet38", str(tmp_path / "res38.pth")).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in wide.items())


def test_every_layout_is_told_from_the_others(resnet: dict[str, Tensor], wide: dict[str, Tensor]) -> None:
    made = [cam_net(resnet), boundary_net(resnet), seam(wide), psa_affinity(wide), psa(wide)]
    assert [layout_of(one) for one in made] == list(LAYOUTS)
    assert layout_of(resnet) is None and layout_of(wide) is None


@pytest.mark.parametrize(
    ("published", "backbone", "channels", "first"),
    [(cam_net, "resnet50", 2048, 0), (psa, "resnet38", 4096, 0), (seam, "resnet38", 4096, 4096)],
)
def test_heads_are_those_of_the_classes_alone(
    resnet: dict[str, Tensor], wide: dict[str, Tensor], tmp_path: Path,
    published: object, backbone: str, channels: int, first: int,
) -> None:  # fmt: skip
    """SEAM's first channel is the background."""
    torch.save(published(resnet if backbone == "resnet50" else wide), tmp_path / "x.pth")  # type: ignore[operator]
    head, _ = published_head(str(tmp_path / "x.pth"), backbone, channels, 20)
    assert head.shape == (20, channels, 1, 1)
    assert head.flatten().tolist() == [first + n for n in range(20 * channels)]


def test_what_does_not_fit_is_named_with_its_layout(
    resnet: dict[str, Tensor], wide: dict[str, Tensor], tmp_path: Path
) -> None:
    files = {
        "coco": cam_net(resnet, 80),
        "irn": boundary_net(resnet),
        "psa": psa(wide),
        "plain": resnet,
        "biased": {**psa(wide), "fc8.bias": torch.zeros(20)},
        "short": {name: one for name, one in cam_net(resnet).items() if name != "resnet50.bn1.weight"},
    }
    for name, state in files.items():
        torch.save(state, tmp_path / f"{name}.pth")
    for name, backbone, message in (
        ("coco", "resnet50", r"coco\.pth \(IRN's CAM network\): classifier\.weight is \(80, 2048, 1, 1\), but must be \(20, 2048, 1, 1\)"),
        ("irn", "resnet50", r"irn\.pth \(IRN's boundary network\): holds no published head \(heads are known of IRN's CAM"),
        ("plain", "resnet50", r"plain\.pth: holds no published head: its layout is not known"),
        ("psa", "resnet50", r"psa\.pth \(PSA's classifier\): has a trunk of resnet38"),
        ("biased", "resnet38", r"biased\.pth \(PSA's classifier\): fc8\.weight has a bias"),
    ):  # fmt: skip
        channels = 2048 if backbone == "resnet50" else 4096
        with pytest.raises(ConfigError, match=message):
            published_head(str(tmp_path / f"{name}.pth"), backbone, channels, 20)
    with pytest.raises(
        ConfigError, match=r"psa\.pth: is PSA's classifier, whose backbone is resnet38, but must fit resnet50"
    ):
        create_backbone("resnet50", str(tmp_path / "psa.pth"))
    with pytest.raises(
        ConfigError, match=r"short\.pth \(IRN's CAM network\): doesn't fit ResNet50: bn1\.weight is missing"
    ):
        create_backbone("resnet50", str(tmp_path / "short.pth"))
