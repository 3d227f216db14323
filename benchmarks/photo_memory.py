"""Measures the memory that each stage takes for photos of several sizes, from the data check to `predict`.

python benchmarks/photo_memory.py [--megapixels 0.19 1 12 24] [--photos 6] [--threads 2]
                                  [--backbone NAME] [--folder FOLDER] [--only STAGE ...]

Photos are drawn: sample scenes, enlarged, with noise, saved as JPEG, each with its mask. Every stage runs in
a process of its own, which begins with what the stages before it left in a store. Its peak is the most that
it and its children held at once (resident, shared pages counted in each). What it held before the stage was
built (libraries, no photos) is taken off and divided by the pixels of one photo on disk: bytes a pixel.

The target: no stage holds more than 4 GiB, at any size.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import psutil
import torch
from PIL import Image
from targets import conclude, target

from wsss.config import load_study_text
from wsss.data.check import check_lists
from wsss.data.pictures.sizes import resize_mask
from wsss.data.readers.voc import VocDataset
from wsss.data.sample.data_set import write_sample
from wsss.data.view import DataView, open_data
from wsss.masks.images import write_mask
from wsss.pipeline.chains.chain import Chain, build_chain
from wsss.pipeline.chains.execute import run_chain
from wsss.pipeline.events import StageFinished
from wsss.pipeline.search.trials import sweep_trials
from wsss.predict.output import Output
from wsss.predict.photos import find_photos, name_photos
from wsss.predict.predictor import Predictor, Settings
from wsss.predict.run import predict
from wsss.predict.trained.model import load_artefact
from wsss.store.folder_store import Store

MIB, GIB = 2**20, 2**30
LIMIT = 4 * GIB
STUDY = """
name: large
data:
  dataset: folder
  root: photos
  train: known
  holdout: 0
  select: {split: known, half: a}
  report: {split: known, half: b}
  test: {split: new}
sweeps:
  - name: chain
    arms:
      own:
        stages:
          - classifier: {backbone: NAME, weights: none, crop: 224, long_side: [224, 320], batch: 2, epochs: 1}
          - features
          - subcategories: {clusters: 1}
          - cams
          - affinity_labels
          - affinity: {backbone: NAME, weights: none, crop: 224, long_side: [224, 320], batch: 2, epochs: 1}
          - pseudo_masks: {as: by_crf}
          - pseudo_masks: {as: by_walk, walk: {crf: true}}
          - segmenter: {backbone: NAME, weights: none, batch: 2, epochs: 1, crop: 225}
          - segmentations: {crf: {}}
      theirs:
        supervision: [image]
        stages: [import: {cams: theirs}, pseudo_masks]
allow: [{unequal_epochs: nothing is compared}]
"""
STAGES = (
    *("data check", "classifier", "features", "subcategories", "cams", "cams.scores", "affinity_labels"),
    *("affinity", "by_crf", "by_crf.scores", "by_walk", "by_walk.scores", "segmenter", "segmentations"),
    *("segmentations.scores", "import", "import.scores", "predict", "predict --crf"),
)
NOISE = 6.0
NEW = 2
"""Photos that nothing was trained on."""


def draw(root: Path, megapixels: float, count: int) -> None:
    """Write photos of 4 to 3, masks, labels, and CAMs that another program might have made of them."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = round(height * 4 / 3)
    (root / "photos" / "masks").mkdir(parents=True)
    (root / "theirs").mkdir()
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as place:
        sample = Path(place) / "sample"
        write_sample(sample, train=count + NEW, val=1, size=256, seed=0)
        dataset = VocDataset(sample)
        ids = dataset.split("train")
        lines = ["image,labels"]
        for id, label in zip(ids, dataset.labels(ids), strict=True):
            photo = dataset.image(id).resize((width, height), Image.Resampling.BICUBIC)
            noisy = np.array(photo)
            for row in noisy:  # as floats a whole large photo would take gigabytes
                row[:] = np.clip(row + random.normal(0, NOISE, row.shape), 0, 255)
            Image.fromarray(noisy).save(root / "photos" / f"{id}.jpg", quality=92)
            mask = resize_mask(dataset.mask(id), (width, height))
            write_mask(root / "photos" / "masks" / f"{id}.png", mask)
            keys = np.flatnonzero(label)
            maps = np.stack([(mask == key + 1).astype(np.float16) for key in keys])
            np.savez_compressed(root / "theirs" / f"{id}.npz", keys=keys, cams=maps)
            lines.append(f"{id},{';'.join(dataset.classes[key] for key in keys)}")
        (root / "photos" / "labels.csv").write_text("\n".join(lines) + "\n")
        for name, part in (("known", ids[:count]), ("new", ids[count:])):
            (root / "photos" / f"{name}.txt").write_text("\n".join(part) + "\n")
        (root / "photos" / "classes.txt").write_text("\n".join(dataset.classes) + "\n")


def opened(root: Path, backbone: str) -> tuple[DataView, dict[str, Chain]]:
    study = load_study_text(STUDY.replace("NAME", backbone), source="large.yaml", base=root)
    view = open_data(study.data, storage=root / "storage", workers=1)
    trials = sweep_trials(study, study.sweeps[0], [], view)
    return view, {trial.info.arm: build_chain(trial.parts, view, 0) for trial in trials}


class Peak:
    """The most that this process and its children hold at once, looked at every hundredth of a second."""

    def __init__(self) -> None:
        self.me = psutil.Process()
        self.peak = 0
        threading.Thread(target=self._look, daemon=True).start()

    def held(self) -> int:
        total = 0
        for process in [self.me, *self.me.children(recursive=True)]:
            try:
                total += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return total

    def _look(self) -> None:
        while True:
            self.peak = max(self.peak, self.held())
            time.sleep(0.01)


def child(root: Path, name: str, threads: int, backbone: str) -> None:
    """Do one stage and print what it took, as JSON."""
    torch.set_num_threads(threads)
    view, chains = opened(root, backbone)
    store = Store(root / "store")
    peak = Peak()
    before, began = peak.held(), time.perf_counter()
    peak.peak = before
    chain = chains["theirs" if name.startswith("import") else "own"]
    if name == "data check":
        assert not check_lists(view.dataset, ["all"]).problems
    elif name.startswith("predict"):
        model = load_artefact(store.folder(chain["segmenter"].key), chain["segmenter"].key)
        settings = Settings(model.scales, crf=name.endswith("--crf"), workers=threads)
        predictor = Predictor(model, settings)
        photos = name_photos(find_photos([root / "photos"])[:1])
        predict(predictor, photos, Output(root / name, "jpg"))
        predictor.close()
    else:
        for event in run_chain("t", chain, store, view, device="cpu", threads=threads):
            if isinstance(event, StageFinished) and event.stage == name:
                break
    print(json.dumps([before, max(peak.peak, peak.held()), time.perf_counter() - began]))


def measure(root: Path, name: str, threads: int, backbone: str) -> tuple[int, int, float]:
    words = [sys.executable, __file__, "--child", str(root), name, str(threads), backbone]
    # Waiting threads sleep: on a busy machine they would take the time that the others need.
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{name}: {done.stderr[-3000:]}")
    before, peak, seconds = json.loads(done.stdout.splitlines()[-1])
    return before, peak, seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megapixels", type=float, nargs="+", default=[0.19, 1, 12, 24])
    parser.add_argument("--photos", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--only", nargs="+", choices=STAGES, default=list(STAGES), help="in this order")
    parser.add_argument(
        "--folder", type=Path, help="keep photos and store here, and go on from those that are"
    )
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        root, name, threads, backbone = asked.child
        child(Path(root), name, int(threads), backbone)
        return
    found: dict[str, list[str]] = {name: [] for name in asked.only}
    largest = 0
    print(f"{asked.photos} photos, {asked.threads} threads, {asked.backbone}: peak MiB (bytes a pixel)")
    with tempfile.TemporaryDirectory() as place:
        for megapixels in asked.megapixels:
            root = (asked.folder or Path(place)) / f"{megapixels:g}"
            if not root.exists():
                draw(root, megapixels, asked.photos)
            for name in asked.only:
                before, peak, seconds = measure(root, name, asked.threads, asked.backbone)
                a_pixel = (peak - before) / (megapixels * 1e6)
                found[name].append(f"{peak / MIB:.0f} ({a_pixel:.0f})")
                largest = max(largest, peak)
                print(
                    f"  {megapixels:g} MP  {name:20s} {found[name][-1]:>16s}  {seconds:.0f} s",
                    file=sys.stderr,
                )
    print("| stage | " + " | ".join(f"{megapixels:g} MP" for megapixels in asked.megapixels) + " |")
    print("|---|" + "---|" * len(asked.megapixels))
    for name, cells in found.items():
        print(f"| {name} | " + " | ".join(cells) + " |")
    target(largest <= LIMIT, f"no stage holds more than 4 GiB, found {largest / GIB:.2f}")
    conclude()


if __name__ == "__main__":
    main()
