"""Where the stages of a study stand in its file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsss.config.stage import STAGES
from wsss.config.stage_use import is_path
from wsss.config.study import Arm, StageUse, Study, Sweep
from wsss.config.text.yaml_text import Path_


def arm_uses(number: int, sweep: Sweep, arm: Arm) -> Iterator[tuple[Path_, StageUse]]:
    """Iterate over the stages of an arm and where each stands.

    Args:
        number: of the sweep, from 0.
        sweep: the sweep.
        arm: the arm.
    """
    for place, use in enumerate(arm.stages):
        yield ("sweeps", number, *sweep.place(arm), "stages", place, use.stage), use


def all_uses(sweeps: Sequence[Sweep]) -> Iterator[tuple[Path_, Arm, StageUse]]:
    """Iterate over the stages of all arms, in the order of the file, and where each stands."""
    for number, sweep in enumerate(sweeps):
        for arm in sweep.arms:
            for path, use in arm_uses(number, sweep, arm):
                yield path, arm, use


def study_paths(study: Study) -> Iterator[tuple[str, str]]:
    """Iterate over what a study reads of a file system: its data, files and folders of its stages, by key."""
    for key in ("root", "labels", "masks"):
        if isinstance(path := getattr(study.data, key), Path):
            yield f"data.{key}", str(path)
    for sweep, arm, use in study.uses():
        for key in STAGES[use.stage].paths:
            value: Any = use.params
            for word in key.split("."):
                value = value.get(word) if isinstance(value, Mapping) else None
            if is_path(key, value):
                yield f"sweeps.{sweep.name}.{arm.name}.{use.name}.{key}", value
