"""The tutorial notebook runs from its first cell to its last, and its outputs are those of the code."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"


@pytest.mark.long
def test_the_tutorial_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    stored = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = [
        [output.output_type for output in cell.outputs if output.get("name") != "stderr"] for cell in stored
    ]
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    again = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [
        [output.output_type for output in cell.outputs if output.get("name") != "stderr"] for cell in again
    ] == shown
    text = "".join(output.get("text", "") for cell in again for output in cell.outputs)
    assert "2 trials, 6 artefacts made" in text


def test_the_tutorial_is_stored_with_its_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    assert not any(output.output_type == "error" for output in outputs)
    assert NOTEBOOK.stat().st_size < 300_000
