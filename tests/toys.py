"""Toy stages: as cheap as can be, with everything a real one has (state, chunks, inputs, seeds)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from wsss.config.params.stages import Params
from wsss.config.stage import STAGES, StageKind
from wsss.stages.contract import Context, Stage


class ToyParams(Params):
    length: int = 4
    add: float = 1.0
    fail_at: int = 0


class Source(Stage):
    """Adds seeded numbers up, one a step."""

    made: list[str] = []

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.params: Any = context.params
        self.total = 0.0
        self.done = 0

    @property
    def steps(self) -> int:
        return self.params.length

    def step(self) -> dict[str, float]:
        Source.made.append(f"{self.params.add}:{self.done}")
        if self.params.fail_at and self.done + 1 == self.params.fail_at:
            return {"loss": float("nan")}
        rng = np.random.default_rng([self.context.seed, self.done])
        self.total += self.params.add * rng.random()
        self.done += 1
        return {"total": self.total}

    def save(self, folder: Path) -> None:
        (folder / "state.json").write_text(json.dumps(self.total))

    def load(self, folder: Path, done: int) -> None:
        self.total, self.done = json.loads((folder / "state.json").read_text()), done

    def finish(self, folder: Path) -> dict[str, Any]:
        (folder / "total.json").write_text(json.dumps(self.total))
        return {}


class Sink(Source):
    """Multiplies the total of its input, in chunks that it keeps in `work`."""

    def step(self) -> dict[str, float]:
        Source.made.append(f"sink:{self.done}")
        total = json.loads((self.context.inputs["source"] / "total.json").read_text())
        (self.context.work / f"{self.done}.json").write_text(json.dumps(total * self.done))
        self.done += 1
        return {}

    def save(self, folder: Path) -> None: ...

    def load(self, folder: Path, done: int) -> None:
        self.done = done

    def finish(self, folder: Path) -> dict[str, Any]:
        for number in range(self.steps):
            (folder / f"{number}.json").write_text((self.context.work / f"{number}.json").read_text())
        return {}


class SourceKind(StageKind[ToyParams]):
    name = "source"
    params = ToyParams
    work: Any = Source
    seeded = True

    @classmethod
    def consumes(cls, params: ToyParams, data: Any) -> Mapping[str, str]:
        return {"images": data.image_key(())}


class SinkKind(SourceKind):
    name = "sink"
    work = Sink
    needs = ("source",)
    seeded = False


def install(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Make the toy stages the only ones, and return data without masks."""
    monkeypatch.setattr(STAGES, "instead", {kind.name: kind for kind in (SourceKind, SinkKind)})
    Source.made.clear()
    return SimpleNamespace(has_masks=False, image_key=lambda ids: "images")
