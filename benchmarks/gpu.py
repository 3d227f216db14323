"""How fast stages are on a GPU, beside the bare networks on tensors that lie on the card, and how busy it is.

Each step is a real stage: reading, augmenting, losses, optimiser, writing. Its ratio to the bare network is
the median over rounds. Then a small whole study runs on Ray, and the driver says how much of the time the
card was busy, from the start of the first trial to the end of the last. On a machine without a card the same
steps run on the CPU, on small photos, and no study: what counts there is the share of an epoch, in CPU
seconds, outside of the network.

    python benchmarks/gpu.py --root /data/VOCdevkit/VOC2012
    python benchmarks/gpu.py --short
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import tempfile
from pathlib import Path

import torch
from busy import GpuBusy
from targets import conclude, target

from wsss.pipeline.speed.measure import measure
from wsss.pipeline.speed.settings import OUTSIDE, TRAINING, Settings, short_settings
from wsss.pipeline.speed.verdict import TRAININGS, limits, outside

BUSY = 0.85
STUDY = """
name: busy
data: {{dataset: {dataset}, root: {root}, limit: {images}, train: train, holdout: 0.05,
       sample: {sample}, select: {{split: train, half: a}}, report: {{split: train, half: b}}}}
sweeps:
  - name: cam
    searcher: grid
    search: {{lr: {{choice: [0.003, 0.01, 0.03]}}}}
    resources: {{cpu: {cpus}, gpu: 1}}
    stages:
      - classifier: {{backbone: {backbone}, weights: none, crop: {crop}, batch: {batch}, epochs: 10, lr: $lr}}
      - cams
      - pseudo_masks
"""


class Trials:
    """An observer that looks at the GPU while trials run."""

    def __init__(self, busy: GpuBusy) -> None:
        self.busy = busy
        self.began = False

    def on_event(self, event: object) -> None:
        from wsss.pipeline.events import StudyFinished, TrialStarted

        if isinstance(event, TrialStarted) and not self.began:
            self.began = True
            self.busy.__enter__()
        elif isinstance(event, StudyFinished) and self.began:
            self.busy.__exit__(None, None, None)

    def close(self) -> None: ...


def busy_share(settings: Settings, folder: Path) -> float | None:
    """Return how much of the time a whole small study keeps the GPU busy."""
    from wsss.config import load_study_text
    from wsss.data.view import open_data
    from wsss.pipeline.study import StudyRun
    from wsss.tuning.executor import RayExecutor
    from wsss.tuning.schedulers import make_judge

    facts = dataclasses.asdict(settings) | {"cpus": max(1, settings.threads - 2)}
    facts["dataset"], facts["root"] = ("voc", settings.root) if settings.root else ("sample", "null")
    sample = f"{{train: {settings.images}, val: 1, size: {settings.photo}}}"
    text = STUDY.format(sample="null" if settings.root else sample, **facts)
    study = load_study_text(text, source="busy", base=folder, storage=str(folder / "runs"))
    data = open_data(study.data, storage=folder / "runs")
    executor, busy = RayExecutor(study, None, data), GpuBusy()
    try:
        StudyRun(study, data, executor, [Trials(busy)], make_judge).run()
    finally:
        executor.close()
    return busy.share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--root", type=Path, help="VOC devkit folder (default: drawn photos)")
    parser.add_argument("--backbone")
    parser.add_argument("--images", type=int)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="CPUs of a trial")
    parser.add_argument("--short", action="store_true", help="what `doctor --gpu` does; no study")
    arguments = parser.parse_args()
    gpus = torch.cuda.device_count()
    device = "cuda" if gpus else "cpu"
    threads = arguments.threads if gpus else 1
    settings = short_settings(device, threads)
    if gpus and not arguments.short:
        settings = dataclasses.replace(settings, images=1536, looked=256, rounds=5)
    changed = {"root": arguments.root, "backbone": arguments.backbone, "images": arguments.images}
    changed |= {"rounds": arguments.rounds}
    settings = dataclasses.replace(settings, **{k: v for k, v in changed.items() if v is not None})
    if gpus:
        print(f"{torch.cuda.get_device_name(0)}, {threads} CPUs a trial")
    else:
        print("no GPU here: the arithmetic runs on the CPU, on one thread; no target of a card is looked at")
    print(
        f"{settings.backbone}, crops of {settings.crop}, batch {settings.batch}, {settings.images} photos\n"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "steps").mkdir()
        measured = measure(settings, folder / "steps")
        print(f"{'step':<16} {'images/s':>9} {'bare':>9} {'share':>6}")
        for speed in measured.speeds:
            print(f"{speed.step:<16} {speed.ours:>9.1f} {speed.bare:>9.1f} {speed.share:>6.2f}")
        print(f"{'reading, a CPU':<16} {measured.decoded:>9.1f}")
        print(f"limit: {limits(measured, settings, os.cpu_count() or 1, gpus).found}\n")
        if gpus:
            for step in TRAININGS:
                share = measured.speed(step).share
                target(share >= TRAINING, f"{step}: {share:.2f} of the bare network, at least {TRAINING}")
            if not arguments.short:
                busy = busy_share(settings, folder)
                told = "unknown: no nvidia-smi" if busy is None else f"{busy:.2f}"
                target(busy is not None and busy >= BUSY, f"GPU busy {told}, at least {BUSY}")
        else:
            share = outside(measured.speed("classifier step"))
            target(share <= OUTSIDE, f"{share:.1%} of an epoch outside of the network, at most {OUTSIDE:.0%}")
    conclude()


if __name__ == "__main__":
    main()
