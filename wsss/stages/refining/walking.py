"""What stages that walk have in common: a walker, and a note of photos walked on smaller copies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wsss.config.params.stages import RandomWalkParams
from wsss.data.view import working_sizes
from wsss.files import read_json, write_json
from wsss.models.computing.folding import fold_norms
from wsss.models.computing.memory import GIB
from wsss.stages.chunks import ChunkedStage
from wsss.stages.contract import Context
from wsss.stages.refining.walker import Walker
from wsss.stages.training.affinity import load_affinity

WALK = "walk.json"
"""What a walk that is resumed later must know."""


class WalkingStage(ChunkedStage):
    """A stage of chunks that walks, if it is given how."""

    def __init__(self, context: Context, ids: Sequence[str], walk: RandomWalkParams | None) -> None:
        super().__init__(context, ids)
        self.notes: dict[str, Any] = {}
        self.walker: Walker | None = None
        if walk is not None:
            network = load_affinity(context.inputs["affinity"], context.device)
            self.precision = network.precision
            fold_norms(network)
            self.walker = Walker(network, walk, context.device)
            self._prepare(self.walker)

    def _prepare(self, walker: Walker) -> None:
        """Decide how much memory walks may take. A resumed stage takes no more than before, whatever is
        free."""
        earlier = read_json(self.context.work / WALK) or {"bytes": None, "smaller": {}}
        smaller = walker.prepare(working_sizes(self.context.data, self.ids), earlier["bytes"])
        self.earlier = earlier["smaller"]
        self.notes["smaller"] = {id: list(size) for id, size in smaller.items()}
        if smaller and walker.budget < int(walker.params.memory * GIB):
            self.notes["free_memory_allowed_gib"] = round(walker.budget / GIB, 3)
        self._remember(walker)

    def _remember(self, walker: Walker) -> None:
        write_json(self.context.work / WALK, {"bytes": walker.budget, "smaller": self.notes["smaller"]})

    def load(self, folder: Path, done: int) -> None:
        super().load(folder, done)
        if self.walker is not None:  # finished photos keep the sizes at which they were walked
            walked = set(self.ids[: done * self.images])
            now = {id: size for id, size in self.notes["smaller"].items() if id not in walked}
            before = {id: size for id, size in self.earlier.items() if id in walked}
            self.notes["smaller"] = before | now
            self._remember(self.walker)
