"""`launch.py` on toy stages that can go wrong: what the fault tests start, kill and resume.

    python tests/faults/faulty.py run study.yaml --storage /tmp/storage --local

Everything is real (study files, data, driver, executors, storage, tracking, exit codes) except for the
work: a classifier "trains" by adding up numbers that follow from its learning rate and its seed, and is
saved after every epoch. What it is to suffer is written into files of the storage's `faults` folder, where
it finds them on whatever machine it runs.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "pipeline"))

import toy_studies as toy
from mlflow.tracking import MlflowClient

from wsss.config.stage import STAGES
from wsss.data.pool import ImagePool
from wsss.errors import StageError
from wsss.files import files_below, sha256_file
from wsss.pipeline.chains.execute import run_chain
from wsss.report.comparison import Comparison
from wsss.stages.contract import Context
from wsss.tuning import executor as executor_module
from wsss.tuning.trials.trainable import ChainTrainable

NAN, OWN, FOREIGN, POOL = 0.5, 0.6, 0.7, 0.8
"""Learning rates at which a toy fails after its second epoch, unless its storage is healed."""
LAST = 0.4
"""The learning rate at which only the last stage of a chain fails."""


def fault_folder(storage: Path) -> Path:
    folder = storage / "faults"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def made(storage: Path, what: str = "made") -> list[tuple[float, int, int]]:
    """Return (lr, epoch, process) of every epoch that was begun on a storage, in order; of every
    classifier that was finished, for `what` "finished"."""
    path = fault_folder(storage) / what
    lines = path.read_text().splitlines() if path.exists() else []
    return [(float(lr), int(epoch), int(pid)) for lr, epoch, pid in (line.split() for line in lines)]


def slow(storage: Path, seconds: float, what: str = "seconds") -> None:
    """Let every epoch take some time; the writing of every classifier, for `what` "finish-seconds"."""
    (fault_folder(storage) / what).write_text(str(seconds))


def heal(storage: Path) -> None:
    """Let nothing fail any more."""
    (fault_folder(storage) / "healed").touch()


class Classifier(toy.Classifier):
    """Notes each epoch before it is trained, takes its time, and fails as its learning rate says."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.faults = fault_folder(context.work.parents[3])

    def step(self) -> dict[str, float]:
        with (self.faults / "made").open("a") as file:
            file.write(f"{self.params.lr} {self.epoch + 1} {os.getpid()}\n")
        seconds = self.faults / "seconds"
        time.sleep(float(seconds.read_text()) if seconds.exists() else 0.0)
        metrics = super().step()
        if self.epoch == 2 and not (self.faults / "healed").exists():
            metrics |= self._suffer()
        return metrics

    def finish(self, folder: Path) -> dict[str, Any]:
        seconds = self.faults / "finish-seconds"
        time.sleep(float(seconds.read_text()) if seconds.exists() else 0.0)
        with (self.faults / "finished").open("a") as file:
            file.write(f"{self.params.lr} {self.epoch} {os.getpid()}\n")
        return super().finish(folder)

    def _suffer(self) -> dict[str, float]:
        if self.params.lr == NAN:
            return {"loss": float("nan")}
        if self.params.lr == OWN:
            raise StageError("the toy broke")
        if self.params.lr == FOREIGN:
            raise ZeroDivisionError("the toy divided by zero")
        if self.params.lr == POOL:
            # What the out-of-memory killer does to a process of a pool.
            ImagePool(2).map(signal.raise_signal, [(signal.SIGKILL,)] * 4)
        return {}


class PseudoMasks(toy.PseudoMasks):
    """Fails when its chain's learning rate says so."""

    def step(self) -> dict[str, float]:
        value = float((self.context.inputs["cams"] / "value.json").read_text())
        if (
            value == toy.quality(LAST)
            and not (fault_folder(self.context.work.parents[3]) / "healed").exists()
        ):
            ImagePool(2).map(signal.raise_signal, [(signal.SIGKILL,)] * 4)
        return super().step()


class ClassifierKind(toy.ClassifierKind):
    work = Classifier


class PseudoMasksKind(toy.PseudoMasksKind):
    work = PseudoMasks


class FaultyTrainable(ChainTrainable):
    """A chain of toy stages, in a process that has none of the driver's patches."""

    def setup(self, config: dict[str, Any]) -> None:
        install()
        super().setup(config)


def install() -> None:
    """Make the toys the only stages, saved after every step, here and in Ray's actors."""
    kinds = (*toy.KINDS, ClassifierKind, PseudoMasksKind)
    STAGES.instead = {kind.name: kind for kind in kinds}
    defaults: Any = run_chain.__kwdefaults__
    defaults["checkpoint_seconds"] = 0.0


def install_driver() -> None:
    """Let a driver in this process run toys; the comparison at the end has nothing to compare."""
    import ray

    import wsss.cli.comparison.compare
    import wsss.report.compare
    import wsss.report.page

    install()
    executor_module.ChainTrainable = FaultyTrainable  # type: ignore[misc]
    wsss.report.compare.compare = lambda *names: Comparison((), (), {}, "", ())
    wsss.cli.comparison.compare.show = lambda *words: None  # type: ignore[assignment]
    wsss.cli.comparison.compare.comparison_json = lambda comparison: {}
    wsss.report.page.write_page = lambda location, names, path: path
    for module in (toy, sys.modules[FaultyTrainable.__module__]):
        if module.__name__ != "__main__":
            ray.cloudpickle.register_pickle_by_value(module)


def study_text(
    lrs: Iterable[float], *, epochs: int = 6, name: str = "toy", more: str = "", retain: str = "all"
) -> str:
    """Return a study file: one trial per learning rate, `more` are further keys of its sweep."""
    choice = ", ".join(map(str, lrs))
    search = more if "search:" in more else f"search: {{lr: {{choice: [{choice}]}}}}, searcher: grid"
    return f"""\
name: {name}
data:
  dataset: sample
  sample: {{train: 8, val: 2, size: 64}}
  holdout: 0.25
  select: {{split: train, half: a}}
  report: {{split: train, half: b}}
retain: {retain}
sweeps:
  - {{name: cam, metric: cams/select/miou, {search}{"" if more in search else f", {more}"},
     stages: [classifier: {{epochs: {epochs}, lr: $lr}}, cams, pseudo_masks]}}
"""


def records(storage: Path, name: str = "toy") -> dict[str, Any]:
    """Return trial → what the ledger has of it, without times."""
    found = toy.Ledger(storage / "studies" / name).trials()
    return {
        id: (r.params, r.seed, r.keys, r.status, r.metrics, r.reason, [tuple(x) for x in r.rungs], r.kept)
        for id, r in found.items()
    }


def tracked(
    storage: Path, name: str = "toy"
) -> list[tuple[str, str, bool, dict[str, str], dict[str, float]]]:
    """Return name, status, whether nested, parameters and last metrics of a study's MLflow runs."""
    client = MlflowClient(f"sqlite:///{storage}/mlflow.db")
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    timeless = ("seconds", "tried/", "system/")
    return sorted(
        (
            str(run.info.run_name),
            run.info.status,
            "mlflow.parentRunId" in run.data.tags,
            run.data.params,
            {k: v for k, v in run.data.metrics.items() if not any(word in k for word in timeless)},
        )
        for run in client.search_runs([experiment.experiment_id])
    )


def contents(storage: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of every artefact but its record, which holds times."""
    store = storage / "store"
    return {
        name: sha256_file(store / name)
        for name in files_below(store)
        if name[2] == "/" and not name.endswith("artefact.json")
    }


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    install_driver()
    from wsss.cli import main

    main()
