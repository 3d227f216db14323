"""Whole studies on toy stages: a real study file, real parameters, numbers that follow from `lr` alone."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from wsss.config import Study, load_study_text
from wsss.config.stage import STAGES, StageKind
from wsss.pipeline.chains.execute import run_chain
from wsss.pipeline.executor import Job, Listener
from wsss.pipeline.study import StudyRun
from wsss.stages.contract import Context, Stage
from wsss.stages.kinds import cams
from wsss.stages.kinds.refining import pseudo_masks
from wsss.stages.kinds.scoring import scores
from wsss.stages.kinds.training import classifier
from wsss.store.folder_store import Store
from wsss.store.ledger import Ledger, TrialRecord

EPOCHS_MADE: list[tuple[float, int]] = []
"""(lr, epoch) of every epoch that a toy classifier trained in this process."""


def quality(lr: float) -> float:
    """What a toy chain scores in the end: 1 at lr 0.01, falling off on both sides."""
    return max(0.0, 1 - abs(math.log10(lr) + 2) / 2)


class _Toy(Stage):
    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.params: Any = context.params
        self.done = 0

    @property
    def steps(self) -> int:
        return 1

    def step(self) -> dict[str, float]:
        self.done += 1
        return {}

    def save(self, folder: Path) -> None:
        (folder / "state.json").write_text("{}")

    def load(self, folder: Path, done: int) -> None:
        self.done = done

    def finish(self, folder: Path) -> dict[str, Any]:
        source = next(iter(self.context.inputs.values()))
        (folder / "value.json").write_text((source / "value.json").read_text())
        return {}


class Classifier(_Toy):
    """Adds the quality of its learning rate up, epoch by epoch; its value is the mean."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.sum = 0.0
        if self.params.begin:
            before = json.loads((context.inputs["classifier"] / "value.json").read_text())
            self.sum = before * self.params.begin

    @property
    def steps(self) -> int:
        return int(self.params.end - self.params.begin)

    @property
    def epoch(self) -> int:
        return int(self.params.begin + self.done)

    def step(self) -> dict[str, float]:
        self.done += 1
        self.sum += quality(self.params.lr)
        EPOCHS_MADE.append((self.params.lr, self.epoch))
        return {"loss": 1.0, "rung_score": self.sum / (self.epoch + 2)}

    def save(self, folder: Path) -> None:
        (folder / "state.json").write_text(json.dumps(self.sum))

    def load(self, folder: Path, done: int) -> None:
        self.sum, self.done = json.loads((folder / "state.json").read_text()), done

    def finish(self, folder: Path) -> dict[str, Any]:
        (folder / "value.json").write_text(json.dumps(self.sum / self.epoch))
        (folder / "classifier.safetensors").write_bytes(b"")
        return {}


class Cams(_Toy): ...


class PseudoMasks(_Toy): ...


class Scores(_Toy):
    def finish(self, folder: Path) -> dict[str, Any]:
        source = next(iter(self.context.inputs.values()))
        value = json.loads((source / "value.json").read_text())
        scores = {"select": {"miou": value}, "report": {"miou": value / 2}}
        (folder / "scores.json").write_text(json.dumps(scores))
        return {}


class _ToyKind(StageKind[Any]):
    version = 1

    @classmethod
    def consumes(cls, params: Any, data: Any) -> Mapping[str, str]:
        return {}


class ClassifierKind(_ToyKind, classifier.Classifier):
    work = Classifier


class CamsKind(_ToyKind, cams.Cams):
    work = Cams


class PseudoMasksKind(_ToyKind, pseudo_masks.PseudoMasks):
    work = PseudoMasks


class ScoresKind(_ToyKind, scores.Scores):
    work = Scores


KINDS: tuple[type[StageKind[Any]], ...] = (ClassifierKind, CamsKind, PseudoMasksKind, ScoresKind)


def install(monkeypatch: Any = None) -> Any:
    """Make the toy stages the only ones (with `monkeypatch` until the test ends); return their data."""
    kinds = {kind.name: kind for kind in KINDS}
    if monkeypatch is None:
        STAGES.instead = kinds
    else:
        monkeypatch.setattr(STAGES, "instead", kinds)
    EPOCHS_MADE.clear()
    return SimpleNamespace(has_masks=True, image_key=lambda ids: "images")


def study(storage: Path, sweep: str, *more: str, name: str = "toy", retain: str = "all") -> Study:
    """Return a study whose first sweep has these keys (YAML, in flow style, without braces)."""
    sweeps = "\n".join(f"  - {{{text}}}" for text in (sweep, *more))
    data = "{dataset: sample, select: {split: train, half: a}, report: {split: train, half: b}}"
    text = f"name: {name}\ndata: {data}\nretain: {retain}\nallow: [unequal_tuning]\nsweeps:\n{sweeps}\n"
    return load_study_text(text, source="toy.yaml", base=Path("/"), storage=str(storage))


class Executor:
    """Makes chains one by one, like the local executor; `stop_after` events it is interrupted."""

    def __init__(self, storage: Path, data: Any, stop_after: int = -1) -> None:
        self.store = Store(storage / "store")
        self.data = data
        self.left = stop_after
        self.jobs: list[str] = []

    def preflight(self, resources: Sequence[Any]) -> Sequence[Any]:
        return ()

    def _tick(self) -> None:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1

    def run(self, jobs: Iterable[Job], resources: Any, listener: Listener) -> None:
        for job in jobs:
            self._tick()
            self.jobs.append(job.id)
            listener.started(job.id)
            with closing(
                run_chain(job.id, job.chain, self.store, self.data, device="cpu", threads=1)
            ) as events:
                for event in events:
                    self._tick()
                    goes_on = listener.event(event)
                    self._tick()
                    if not goes_on:
                        break
            self._tick()
            listener.ended(job.id, "")
            self._tick()


def run(
    study: Study, data: Any, *, stop_after: int = -1, observers: Sequence[Any] = ()
) -> tuple[Any, Executor]:
    """Run a study with Ray's judges and no cluster; return how it ended and the executor."""
    from wsss.tuning.schedulers import make_judge

    executor = Executor(study.storage, data, stop_after)
    outcome = StudyRun(study, data, executor, observers, make_judge).run()
    return outcome, executor


def records(study: Study) -> dict[str, TrialRecord]:
    return Ledger(study.storage / "studies" / study.name).trials()


def table(study: Study) -> dict[str, tuple[Any, ...]]:
    """Trial → what it is and how it ended, without times."""
    return {
        id: (r.params, r.seed, r.keys, r.status, r.metrics, r.reason, [tuple(x) for x in r.rungs], r.kept)
        for id, r in records(study).items()
    }
