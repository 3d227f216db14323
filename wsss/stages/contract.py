"""What every stage is: something that goes step by step from artefacts to one artefact.

From this one contract come the local run, the Ray trainable, progress with an honest total,
checkpoints between steps and cheap resume. A stage knows nothing of any of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss.config.params.stages import Params
from wsss.data.view import DataView
from wsss.models.computing.precision import Precision


@dataclass(frozen=True)
class Context:
    """What a stage may use.

    `inputs` maps an artefact kind to the folder of its files. `work` is a folder for files of
    finished chunks: it survives a crash, and is the same one when the stage is built again. `device`
    is a torch device string. `threads` is the number of CPUs of the trial.
    """

    params: Params
    inputs: Mapping[str, Path]
    data: DataView
    seed: int
    device: str
    threads: int
    work: Path
    workers: int = 1
    """Processes that train one network together, where a stage can; each has a GPU of its own, if any."""


OnPart = Callable[[int, int], None]
"""Hears (parts done, parts in all) of a step that is under way, such as the batches of an epoch."""


def unheard(done: int, total: int) -> None:
    """Hear how far a step is, and do nothing about it."""


class Stage(ABC):
    """One resumable step of a chain. Building it is cheap; the work happens in `step`.

    Bit-identical results are promised on CPU for equal parameters, inputs, data, seed and threads,
    however often the stage was saved, thrown away, built again and loaded in between.
    """

    precision: Precision | None = None
    """In which numbers its network computes on a GPU, for the record; None where it has none."""
    said: str = ""
    """The last line of the program that it waits for."""
    on_part: OnPart = staticmethod(unheard)
    """Told of every part of a step, in the stage's own process; nothing depends on it."""

    def __init__(self, context: Context) -> None:
        self.context = context

    @property
    @abstractmethod
    def steps(self) -> int:
        """Number of calls of `step` from the beginning to the end."""

    @abstractmethod
    def step(self) -> dict[str, float] | None:
        """Do one epoch or one chunk of images and return finite metrics of it. `wsss.stages.step_metrics`
        names those that MLflow, schedulers and reports look for.

        A stage that waits for a program returns None now and then while the step is not done; `said` is then
        the program's last line.
        """

    def save(self, folder: Path) -> None:  # noqa: B027 - chunked stages keep all state in `work`
        """Write the state between two steps into an empty folder."""

    @abstractmethod
    def load(self, folder: Path, done: int) -> None:
        """Go on from a state that `save` wrote after `done` steps."""

    def close(self) -> None:  # noqa: B027 - most stages hold nothing
        """Release processes and files, at the end or before."""

    @abstractmethod
    def finish(self, folder: Path) -> dict[str, Any]:
        """Write the artefact's files into an empty folder; return a small JSON summary."""
