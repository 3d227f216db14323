"""Measures what running a study costs besides its work, against doing without, side by side.

python benchmarks/orchestration.py [--only overhead refinements study growth artefacts] [--trials 64]

overhead     no-op trials through a study on Ray against bare Ray Tune, on the same cluster
refinements  eight refinements of the same CAMs; an unchanged study run again
study        caching, ASHA and `stop_below` against every trial, every stage, to its end, with no cache
growth       seconds and memory a trial over many trials, on Ray and in this process
artefacts    time and memory an artefact in a small storage and in a large one (store_growth.py)

Each prints its targets and whether they are met; one that is missed is an exit code of 1.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil
from targets import conclude, target

from wsss.config import Study, load_study_text
from wsss.config.stage import STAGES
from wsss.data.view import DataView, open_data
from wsss.pipeline.chains.chain import Chain
from wsss.pipeline.chains.execute import run_chain
from wsss.pipeline.events import Event, TrialFinished
from wsss.pipeline.local import LocalExecutor
from wsss.pipeline.past.results import chain_result
from wsss.pipeline.study import StudyRun
from wsss.stages.contract import Stage
from wsss.stages.kinds.training import classifier
from wsss.store.folder_store import Store
from wsss.tuning import executor as executor_module
from wsss.tuning.executor import RayExecutor
from wsss.tuning.joining.cluster import connect
from wsss.tuning.schedulers import make_judge
from wsss.tuning.trials.trainable import ChainTrainable

import ray  # isort: skip
from ray import tune  # isort: skip

ROOT = Path(__file__).resolve().parents[1]
MIB = 2**20
SLOWER = 1.5
GROWN = 16
UNCHANGED_SECONDS = 20
TIMES = 3
REFINEMENTS = 8
DATA = """\
data:
  dataset: sample
  sample: {train: 40, val: 4, size: 96}
  holdout: 0.2
  select: {split: train, half: a}
  report: {split: train, half: b}
"""


class Nothing(Stage):
    """A classifier that learns nothing at once."""

    done = 0

    @property
    def steps(self) -> int:
        return 1

    def step(self) -> dict[str, float]:
        self.done += 1
        return {"loss": 0.0}

    def load(self, folder: Path, done: int) -> None:
        self.done = done

    def finish(self, folder: Path) -> dict[str, Any]:
        (folder / "classifier.safetensors").write_bytes(b"")
        return {}


class NothingKind(classifier.Classifier):
    work = Nothing

    @classmethod
    def consumes(cls, params: Any, data: Any) -> Mapping[str, str]:
        return {}


class NothingTrainable(ChainTrainable):
    def setup(self, config: dict[str, Any]) -> None:
        STAGES.instead = {"classifier": NothingKind}
        super().setup(config)

    def _open(self, spec: Any, folder: Path) -> Any:
        return SimpleNamespace(has_masks=False)


class BareTrainable(tune.Trainable):
    """What one would write without a study: a class that imports torch."""

    def setup(self, config: dict[str, Any]) -> None:
        import torch

        self.tensor = torch.zeros(1)

    def step(self) -> dict[str, Any]:
        return {"loss": float(self.tensor), "done": True}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None: ...

    def load_checkpoint(self, checkpoint: Any) -> None: ...


class Marks:
    """Notes when trials ended, and this process's memory then."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.memory: list[float] = []
        self._process = psutil.Process()

    def on_event(self, event: Event) -> None:
        if isinstance(event, TrialFinished):
            self.times.append(time.perf_counter())
            self.memory.append(self._process.memory_info().rss / MIB)

    def close(self) -> None: ...

    def say(self, every: int) -> None:
        """Print time and memory of each run of `every` trials, and whether the last is like the first."""
        took = []
        for end in range(every, len(self.times) + 1, every):
            begin = end - every
            start = self.times[begin - 1] if begin else self.times[0]
            took.append((self.times[end - 1] - start) / (every if begin else every - 1) * 1000)
            print(f"  {begin:5d} to {end:5d}: {took[-1]:8.1f} ms a trial, {self.memory[end - 1]:6.0f} MiB")
        slower = took[-1] / took[0]
        target(
            slower <= SLOWER, f"time: the last take at most {SLOWER:g} times the first, found {slower:.2f}"
        )
        grown = self.memory[-1] - self.memory[every - 1]
        target(grown <= GROWN, f"memory: at most {GROWN:g} MiB more at the end, found {grown:.0f}")


def no_op_study(storage: Path, trials: int) -> Study:
    lrs = ", ".join(f"{(n + 1) / 1e6:.6f}" for n in range(trials))
    text = (
        f"name: nothing\n{DATA}retain: all\nsweeps:\n"
        f"  - {{name: cam, search: {{lr: {{choice: [{lrs}]}}}}, searcher: grid, "
        "stages: [classifier: {lr: $lr, epochs: 1}]}\n"
    )
    return load_study_text(text, source="nothing.yaml", base=Path("/"), storage=str(storage))


class without_stages:  # noqa: N801 - reads as what it does
    """Makes `Nothing` the only stage, until the end."""

    def __enter__(self) -> Any:
        self.before = STAGES.instead, executor_module.ChainTrainable
        STAGES.instead = {"classifier": NothingKind}
        executor_module.ChainTrainable = NothingTrainable  # type: ignore[misc]
        return SimpleNamespace(has_masks=False)

    def __exit__(self, *error: object) -> None:
        STAGES.instead, executor_module.ChainTrainable = self.before  # type: ignore[misc]


def load() -> str:
    return f"load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores"


def bare(folder: Path, trials: int, *, reuse: bool) -> float:
    """Return seconds a trial of bare Ray Tune."""
    began = time.perf_counter()
    tune.Tuner(
        tune.with_resources(BareTrainable, {"cpu": 1}),
        param_space={"lr": tune.grid_search([(n + 1) / 1e6 for n in range(trials)])},
        tune_config=tune.TuneConfig(reuse_actors=reuse),
        run_config=tune.RunConfig(name=f"bare-{reuse}", storage_path=str(folder), verbose=0),
    ).fit()
    return (time.perf_counter() - began) / trials


def ours(folder: Path, trials: int, marks: Marks | None = None) -> float:
    """Return seconds a trial of a study on Ray: driver, ledger, store, events and all."""
    began = time.perf_counter()
    with without_stages() as data:
        study = no_op_study(folder, trials)
        outcome = StudyRun(study, data, RayExecutor(study), [marks] if marks else []).run()
    assert (outcome.computed, outcome.failed) == (trials, [])
    return (time.perf_counter() - began) / trials


def overhead(folder: Path, chosen: argparse.Namespace) -> None:
    trials = chosen.trials
    print(f"overhead: {trials} no-op trials on one cluster of {os.cpu_count()} CPUs ({load()})")
    connect(None)
    bare(folder / "warm", 2, reuse=True)
    rows = {
        "ours": ours(folder / "ours", trials),
        "bare Ray Tune, class that imports torch": bare(folder / "bare", trials, reuse=False),
        "the same with reuse_actors": bare(folder / "reused", trials, reuse=True),
    }
    for name, seconds in rows.items():
        print(f"  {name:42s} {seconds:6.2f} s a trial   {seconds / rows['ours']:5.2f} of ours")
    plain = rows["bare Ray Tune, class that imports torch"]
    target(rows["ours"] <= plain, "no more than bare Ray Tune")


def launch(*words: object) -> tuple[float, dict[str, Any]]:
    """Run the command line; return its seconds and what it printed."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(ROOT / "launch.py"), *map(str, words), "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(done.stderr)
    return time.perf_counter() - began, json.loads(done.stdout)


CLASSIFIER = (
    "classifier: {method: cam, backbone: efficientnet_lite0, freeze: blocks3, epochs: EPOCHS, batch: 8, "
    "lr: LR, head_multiplier: 3, crop: 96, long_side: [96, 128], rung: {images: 16}}"
)
CAMS = "cams: {scales: [1.0]}"


def refinements(folder: Path, chosen: argparse.Namespace) -> None:
    print(f"refinements ({load()})")
    first = CLASSIFIER.replace("EPOCHS", "3").replace("LR", "0.01")
    sweep = f"  - {{name: cam, metric: cams/select/miou, stages: [{first}, {CAMS}]}}\n"
    masks = (
        "  - {name: masks, metric: refined/select/miou, searcher: grid, "
        "search: {power: {choice: [1, 2, 3, 4, 5, 6, 7, 8]}}, "
        "stages: [pseudo_masks: {as: refined, background_exponent: $power, crf: {iterations: 2}}]}\n"
    )
    storage = folder / "refinements"
    (folder / "cams.yaml").write_text(f"name: cams\n{DATA}sweeps:\n{sweep}")
    (folder / "eight.yaml").write_text(f"name: eight\n{DATA}sweeps:\n{sweep}{masks}")
    alone, _ = launch("run", folder / "cams.yaml", "--storage", storage)
    eight, told = launch("run", folder / "eight.yaml", "--storage", storage)
    again, unchanged = launch("run", folder / "eight.yaml", "--storage", storage)
    stages = [artefact.stage for artefact in Store(storage / "store")]
    counted = {stage: stages.count(stage) for stage in ("classifier", "cams", "pseudo_masks")}
    print(f"  one classifier and its CAMs       {alone:6.1f} s")
    made = f"{told['computed']} artefacts made, in all {counted}"
    print(f"  eight refinements of them         {eight:6.1f} s, {made}")
    print(f"  the same study, unchanged         {again:6.1f} s, {unchanged['computed']} made")
    once = counted == {"classifier": 1, "cams": 1, "pseudo_masks": REFINEMENTS}
    target(once, f"{REFINEMENTS} refinements, no training")
    quick = again < UNCHANGED_SECONDS and unchanged["computed"] == 0
    target(quick, f"an unchanged study in less than {UNCHANGED_SECONDS} s")


STUDY_DATA = DATA.replace("{train: 40, val: 4, size: 96}", "{train: 160, val: 4, size: 128}")
STUDY_CLASSIFIER = (
    CLASSIFIER.replace("EPOCHS", "9").replace("LR", "$lr").replace("images: 16", "images: 32")
    .replace("crop: 96, long_side: [96, 128]", "grad_clip: 5, crop: 160, long_side: [144, 224]")
)  # fmt: skip
"""The quickstart's sample set and its baseline: smaller ones learn nothing, and there is no winner."""
LEARNING_RATES = [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1]


def study_text(name: str, *, smart: bool, seeds: Iterable[int] = (), lrs: Iterable[float] = ()) -> str:
    """Return the study that is compared: learning rates, then ways to refine the best one's CAMs."""
    lrs = list(lrs) or LEARNING_RATES
    stop = (
        ", scheduler: {kind: asha, grace: 3, reduction: 3}, stop_below: {cams/select/miou: median}"
        if smart
        else ""
    )
    seeded = f", seeds: [{', '.join(map(str, seeds))}]" if seeds else ""
    cams = "cams: {scales: [1.0], size: 256}"
    return (
        f"name: {name}\n{STUDY_DATA}sweeps:\n"
        f"  - {{name: cam, metric: pseudo_masks/select/miou, searcher: grid, "
        f"search: {{lr: {{choice: {lrs}}}}}{stop}{seeded}, "
        f"stages: [{STUDY_CLASSIFIER}, {cams}, pseudo_masks: {{crf: {{iterations: 2}}}}]}}\n"
        "  - {name: masks, metric: refined/select/miou, searcher: grid, "
        "search: {power: {choice: [1, 2, 4, 8]}}, "
        "stages: [pseudo_masks: {as: refined, background_exponent: $power, crf: {iterations: 2}}]}\n"
    )


def run_here(text: str, storage: Path, data: DataView) -> tuple[float, StudyRun]:
    """Run a study in this process; return its CPU seconds, which other work on the machine hardly changes."""
    study = load_study_text(text, source="study.yaml", base=Path("/"), storage=str(storage))
    run = StudyRun(study, data, LocalExecutor(Store(storage / "store"), data), (), make_judge)
    began = time.process_time()
    outcome = run.run()
    assert not outcome.failed, outcome.failed
    return time.process_time() - began, run


def winner(run: StudyRun) -> tuple[dict[str, Any], float, float]:
    """Return the parameters of the refinement that was kept, and its mIoU on select and report images."""
    kept = [trial for trial in run.session.ledger.trials().values() if trial.kept and trial.sweep == "masks"]
    best = max(kept, key=lambda trial: trial.metrics["refined/select/miou"])
    return best.params, *(best.metrics[f"refined/{part}/miou"] for part in ("select", "report"))


def every_chain(text: str, data: DataView, folder: Path) -> Iterator[tuple[dict[str, Any], Chain]]:
    """Iterate over the chains of a search of all combinations: each classifier with each refinement."""
    from wsss.pipeline.search.trials import sweep_trials

    study = load_study_text(text, source="study.yaml", base=Path("/"), storage=str(folder))
    first, second = study.sweeps
    trained = sweep_trials(study, first, [], data, {})
    for trial in sweep_trials(study, second, trained, data, {}):
        yield dict(trial.info.params), trial.chain


def naive(text: str, data: DataView, folder: Path) -> tuple[float, dict[str, Any], float, float]:
    """Make every chain from its beginning to its end in a storage of its own; return the CPU seconds, and the
    parameters and mIoUs of the best by select images."""
    found = []
    began = time.process_time()
    for number, (params, chain) in enumerate(every_chain(text, data, folder)):
        store = Store(folder / f"{number}" / "store")
        for _ in run_chain(f"{number}", chain, store, data, device="cpu", threads=1):
            pass
        metrics = chain_result(chain, store).metrics
        found.append((metrics["refined/select/miou"], metrics["refined/report/miou"], params))
    seconds = time.process_time() - began
    select, report, params = max(found, key=lambda one: one[0])
    return seconds, params, select, report


def study(folder: Path, chosen: argparse.Namespace) -> None:
    print(f"study: six learning rates, four refinements, CPU seconds ({load()})")
    text = study_text("smart", smart=True)
    spec = load_study_text(text, source="study.yaml", base=Path("/"), storage=str(folder)).data
    data = open_data(spec, storage=folder)
    smart, run = run_here(text, folder / "smart", data)
    params, _select, report = winner(run)
    stopped = len(run.session.outcome.stopped)
    told = f"report {100 * report:.1f}   {params}, {stopped} stopped"
    print(f"  cached, ASHA, stop_below   {smart:7.1f} s   {told}")
    plain, naive_params, _, naive_report = naive(study_text("naive", smart=False), data, folder / "naive")
    print(f"  every chain to its end     {plain:7.1f} s   report {100 * naive_report:.1f}   {naive_params}")
    trials = run.session.ledger.trials().values()
    lr = next(trial.params["lr"] for trial in trials if trial.kept and "lr" in trial.params)
    _, noisy = run_here(study_text("noise", smart=False, seeds=(0, 1, 2), lrs=[lr]), folder / "noise", data)
    reports = [
        trial.metrics["refined/report/miou"]
        for trial in noisy.ledger.trials().values()
        if trial.sweep == "masks" and trial.params.get("power") == params["power"]
    ]
    noise = statistics.stdev(reports) if len(reports) > 1 else float("nan")
    apart = 100 * abs(report - naive_report)
    target(plain / smart >= TIMES, f"at least {TIMES} times as fast, found {plain / smart:.1f}")
    told = f"{apart:.1f}; the first one's {len(reports)} seeds have a standard deviation of {100 * noise:.1f}"
    target(apart <= 2 * 100 * noise, f"the winners differ by at most two of those: {told}")


def growth(folder: Path, chosen: argparse.Namespace) -> None:
    print(f"growth: {chosen.many:,} no-op trials in this process ({load()})")
    marks = Marks()
    with without_stages() as data:
        many = no_op_study(folder / "many", chosen.many)
        executor = LocalExecutor(Store(folder / "many/store"), data)
        outcome = StudyRun(many, data, executor, [marks]).run()
    assert (outcome.computed, outcome.failed) == (chosen.many, [])
    marks.say(chosen.many // 20)
    ledger = folder / "many/studies/nothing/ledger.jsonl"
    print(f"  the ledger has {ledger.stat().st_size / MIB:.1f} MiB")
    print(f"growth: {chosen.on_ray} no-op trials on Ray ({load()})")
    connect(None)
    marks = Marks()
    ours(folder / "growth", chosen.on_ray, marks)
    marks.say(chosen.on_ray // 4)


def artefacts(folder: Path, chosen: argparse.Namespace) -> None:
    print(f"artefacts ({load()})", flush=True)
    program = [sys.executable, str(ROOT / "benchmarks" / "store_growth.py"), "--sizes"]
    done = subprocess.run(
        [*program, *map(str, chosen.sizes)], check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    target(done.returncode == 0, "a storage's targets")


PARTS = {
    "overhead": overhead,
    "refinements": refinements,
    "study": study,
    "growth": growth,
    "artefacts": artefacts,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--trials", type=int, default=64, help="of `overhead`")
    parser.add_argument("--many", type=int, default=2000, help="trials of `growth` in this process")
    parser.add_argument("--on-ray", type=int, default=200, help="trials of `growth` on Ray")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10000], help="of `artefacts`")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wsss-") as place:
        for name in arguments.only:
            folder = Path(place) / name
            folder.mkdir()
            PARTS[name](folder, arguments)
    if ray.is_initialized():
        ray.shutdown()
    conclude()


if __name__ == "__main__":
    main()
