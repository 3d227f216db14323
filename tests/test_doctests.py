"""Examples in docstrings run, and print what they say they print."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
FILES = [path for path in sorted((ROOT / "wsss").rglob("*.py")) if ">>> " in path.read_text()]
NOTEBOOK = {
    *("confusion", "iou", "miou", "summary", "ThresholdCurve", "bootstrap_interval", "paired_difference"),
    *("holm", "estimate", "mean_average_precision", "boundary_f", "error_split"),
    *("multi_scale_cams", "threshold_mask", "dense_crf", "transition", "write_mask", "voc_palette"),
    *("pair_offsets", "pair_labels", "segment"),
    *("fmix_mask", "Mixer", "entropy", "concentration", "PolySchedule", "build_optimiser"),
    *("write_sample", "VocDataset", "open_data", "ClassificationBatches"),
    *("create_backbone", "CamNetwork", "DeepLab", "Predictor", "run_chain"),
}
"""What a notebook would call."""


def with_examples(path: Path) -> Iterator[str]:
    """Yield the names of a file's functions and classes whose own docstring has an example."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ">>> " in (ast.get_docstring(node) or ""):
            yield node.name


@pytest.fixture
def as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put temporary folders of examples where pytest removes them, and torch's threads back."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_everything_a_notebook_would_call_has_an_example() -> None:
    assert {name for path in FILES for name in with_examples(path)} >= NOTEBOOK


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
@pytest.mark.usefixtures("as_it_was")
def test_the_examples_of_a_file_are_true(path: Path) -> None:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    report: list[str] = []
    ran = 0
    for test in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name), name):
        result = doctest.DocTestRunner().run(test, out=report.append)
        ran += result.attempted
    assert not report, "".join(report)
    assert ran, f"doctest finds no example in {path}"


@pytest.mark.usefixtures("as_it_was")
def test_the_cells_of_the_notebook_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "reference" / "notebook.md").read_text()
    cells = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(cells) > 1
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for cell in cells:
        exec(cell, names)
    assert (tmp_path / "runs" / "store").is_dir()
