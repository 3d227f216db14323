"""A program of somebody else, for tests of `command`: a repository, and the words that start it."""

from __future__ import annotations

from pathlib import Path

TOY = Path(__file__).parent / "stages/programs/toy_repository"
RUN = (
    'python, make_maps.py, --voc, "{data.root}", --list, "{data.images}", --labels, "{data.labels}", '
    '--classes, "{data.classes}", --seed, "{seed}", --out, "{out}", --work, "{work}", --pause, 0.05'
)
"""What stands in `run: […]`. An option that is given again, behind these, counts instead."""
