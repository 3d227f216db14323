"""Where the stages of a study stand in its file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wsss.config.study import Arm, StageUse, Sweep
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
