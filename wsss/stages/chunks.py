"""What stages that treat image after image have in common: a step is a chunk of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wsss.files import read_json, write_json
from wsss.stages.contract import Context, Stage
from wsss.stages.pool import ImagePool

PER_WORKER = 16
"""Images of a chunk for each process of a pool: larger ones don't keep processes busier, smaller ones keep
them less busy (docs/results.md, refinement)."""
CHUNK = "chunk.json"


class ChunkedStage(Stage):
    """One step treats a chunk of `ids` in a pool of the trial's CPUs; its files stay in `work`.

    A chunk's size is part of the saved state: whoever goes on may have fewer CPUs or more.
    """

    def __init__(self, context: Context, ids: Sequence[str]) -> None:
        super().__init__(context)
        self.ids = list(ids)
        self.images = PER_WORKER * context.threads
        self.done = 0
        self.pool = ImagePool(context.threads)

    @property
    def steps(self) -> int:
        return -(-len(self.ids) // self.images)

    def chunk(self) -> list[str]:
        """Return the ids of the next step."""
        return self.ids[self.done * self.images : (self.done + 1) * self.images]

    def save(self, folder: Path) -> None:
        write_json(folder / CHUNK, {"images": self.images})

    def load(self, folder: Path, done: int) -> None:
        self.images = int(read_json(folder / CHUNK)["images"])
        self.done = done

    def close(self) -> None:
        self.pool.close()
