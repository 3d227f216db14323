"""The import of torchvision: repaired where its C++ library can't load, untouched where it can."""

from __future__ import annotations

import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
import torch

from wsss.models import torchvision_cpu


def run(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return result.stdout.strip()


def test_it_repairs_exactly_when_torchvision_has_no_operators() -> None:
    assert torchvision_cpu.repaired == (not torchvision_cpu.torchvision.extension._has_ops())
    for name in ("nms", "qnms"):
        assert hasattr(torch.ops.torchvision, name)


def test_transforms_and_models_import_after_it() -> None:
    code = (
        "from wsss.models.torchvision_cpu import torchvision\n"
        "import torch, torchvision.transforms.v2 as v2\n"
        "print(tuple(v2.Resize(4)(torch.zeros(3, 8, 8)).shape), torchvision.models.resnet18().fc.out_features)"
    )
    assert run(code) == "(3, 4, 4) 1000"


def test_it_declares_nothing_where_the_library_loads() -> None:
    """A library that loads registers the operators itself; a second declaration would be fatal."""
    code = (
        "import torch\n"
        "real = torch.library.Library('torchvision', 'DEF')\n"
        "for name in ('nms', 'qnms'):\n"
        "    real.define(name + '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')\n"
        "torch.ops.load_library = lambda path: None\n"
        "import torch.library as made\n"
        "def refuse(*args): raise AssertionError(args)\n"
        "import importlib.util, sys\n"
        "spec = importlib.util.find_spec('wsss.models.torchvision_cpu')\n"
        "source = open(spec.origin).read().split('import timm')[0]\n"
        "made.Library = refuse\n"
        "space = {'__name__': 'copy'}\n"
        "exec(compile(source, spec.origin, 'exec'), space)\n"
        "print(space['repaired'])"
    )
    assert run(code) == "False"


@pytest.mark.parametrize("suffix", EXTENSION_SUFFIXES)
def test_the_library_is_found_under_every_name_python_loads(suffix: str, tmp_path: Path) -> None:
    assert torchvision_cpu.library_file(tmp_path) is None
    file = tmp_path / f"_C{suffix}"
    file.touch()
    assert torchvision_cpu.library_file(tmp_path) == file
