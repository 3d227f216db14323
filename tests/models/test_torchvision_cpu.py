"""The import of torchvision: repaired where its C++ library can't load, untouched where it can."""

from __future__ import annotations

import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
import torch

from wsss.models.backbones import torchvision_cpu


def run(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return result.stdout.strip()


def test_it_repairs_exactly_when_torchvision_has_no_operators() -> None:
    assert torchvision_cpu.repaired == (not torchvision_cpu.torchvision.extension._has_ops())
    for name in ("nms", "qnms"):
        assert hasattr(torch.ops.torchvision, name)


def test_transforms_and_models_import_after_it() -> None:
    code = (
        "from wsss.models.backbones.torchvision_cpu import torchvision\n"
        "import torch, torchvision.transforms.v2 as v2\n"
        "print(tuple(v2.Resize(4)(torch.zeros(3, 8, 8)).shape), torchvision.models.resnet18().fc.out_features)"
    )
    assert run(code) == "(3, 4, 4) 1000"


def test_what_decides_is_whether_the_library_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that loads registers the operators itself; a second declaration would be fatal."""

    def fails(path: str) -> None:
        raise OSError(f"{path}: undefined symbol")

    package = Path(torchvision_cpu.torchvision.__file__).parent
    asked: list[str] = []
    monkeypatch.setattr(torch.ops, "load_library", asked.append)
    monkeypatch.setattr(torchvision_cpu, "library_file", lambda folder: folder / "_C.so")
    assert torchvision_cpu._library_loads()
    assert asked == [str(package / "_C.so")]
    monkeypatch.setattr(torch.ops, "load_library", fails)
    assert not torchvision_cpu._library_loads()
    monkeypatch.setattr(torchvision_cpu, "library_file", lambda folder: None)
    assert not torchvision_cpu._library_loads()


@pytest.mark.parametrize("suffix", EXTENSION_SUFFIXES)
def test_the_library_is_found_under_every_name_python_loads(suffix: str, tmp_path: Path) -> None:
    assert torchvision_cpu.library_file(tmp_path) is None
    file = tmp_path / f"_C{suffix}"
    file.touch()
    assert torchvision_cpu.library_file(tmp_path) == file
