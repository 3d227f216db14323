"""Measures the steps from CAMs to masks against their plain formulations, side by side.

python benchmarks/refinement.py [--root VOC2012] [--photos 40] [--images 1000]
                                [--only walk crf chunk pairs flat]

walk   the sparse walk against squaring the dense matrix, 375 × 500 pixels, radius 5, 256 steps
crf    the CRF over the classes present against all 21 labels, and two processes against one
chunk  the CRF in two processes, by images of a step for each process and images that one fetches at once;
       idle is the share of their time that they wait, which other work on the machine hardly touches
pairs  forward and backward of the affinity loss at 448 pixels against a forward of the backbone
flat   time and memory an image over many images, through the stages themselves: affinity labels, masks by
       CRF, masks by a walk with a CRF after it

Each prints its targets and whether they are met; one that is missed is an exit code of 1.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import psutil
import torch
from PIL import Image
from safetensors.torch import save_file
from targets import conclude, target

from wsss.config.params.stages import (
    AffinityLabelsParams,
    AffinityParams,
    CrfParams,
    PseudoMasksParams,
    WalkParams,
)
from wsss.data import pool as process_pool
from wsss.data.pictures.fingerprint import Fingerprints
from wsss.data.pool import ImagePool
from wsss.data.readers.voc import VocDataset
from wsss.data.sample.data_set import write_sample
from wsss.files import write_json
from wsss.masks.crf import cam_to_sure_mask_with_crf, dense_crf
from wsss.masks.pairs import affinity_loss, pair_affinities, pair_labels, pair_offsets, windows
from wsss.masks.random_walk import transition, walk
from wsss.masks.seeds import background_score, with_background
from wsss.models import create_backbone
from wsss.stages.contract import Context
from wsss.stages.refining.affinity_labels import AffinityLabels
from wsss.stages.refining.pseudo_masks import PseudoMasks
from wsss.stages.shards import split_shards, write_index, write_shard
from wsss.stages.training.affinity import ABOUT, WEIGHTS, build_affinity

HEIGHT, WIDTH, STRIDE, RADIUS, BETA, LOG_STEPS = 375, 500, 8, 5, 8.0, 8
GRID = math.ceil(HEIGHT / STRIDE), math.ceil(WIDTH / STRIDE)
REPEATS = 5
LABELS = 21
ROOT_HELP = "VOC2012 folder (default: WSSS_VOC_ROOT, shared/data beside this folder, else drawn photos)"
MIB = 2**20
WORKERS, PER_WORKER, CHUNKSIZES = 2, (2, 4, 8, 16, 32), (1, 2, 4)


def default_root() -> Path | None:
    beside = Path(__file__).parents[2] / "shared/data/VOCdevkit/VOC2012"
    root = Path(os.environ.get("WSSS_VOC_ROOT", beside))
    return root if (root / "JPEGImages").is_dir() else None


def timed(function: Callable[[], Any], repeats: int = REPEATS) -> tuple[float, Any]:
    """Return the median seconds and the last result."""
    seconds = []
    result = None
    for _ in range(repeats):
        began = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds), result


def peak_mib() -> float:
    """Return the most that this process has held; `ru_maxrss` would begin with what its parent held."""
    (line,) = (
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    return int(line.split()[1]) / 1024


def walk_input() -> tuple[torch.Tensor, torch.Tensor]:
    """Return affinities of smooth features with edges, and scores of background and two classes."""
    random = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, 16, 6, 8, generator=random)
    features = torch.nn.functional.interpolate(coarse, GRID, mode="nearest")
    features += 0.2 * torch.randn(features.shape, generator=random)
    scores = torch.rand(3, *GRID, generator=random)
    return pair_affinities(features, pair_offsets(RADIUS)), scores


def sparse_walk(affinities: torch.Tensor, scores: torch.Tensor) -> np.ndarray:
    matrix = transition(affinities, pair_offsets(RADIUS), *GRID, BETA)
    return walk(scores, matrix, 2**LOG_STEPS).numpy()


def dense_walk(affinities: torch.Tensor, scores: torch.Tensor, dtype: Any = np.float32) -> np.ndarray:
    """Fill the matrix, square it until it has made all steps, apply it once."""
    cells = np.arange(GRID[0] * GRID[1]).reshape(GRID)
    matrix = np.eye(cells.size, dtype=dtype)
    values = affinities.numpy().astype(dtype) ** BETA
    start = 0
    for offset in pair_offsets(RADIUS):
        first, second = windows(*GRID, offset)
        a, b = cells[first].ravel(), cells[second].ravel()
        matrix[a, b] = matrix[b, a] = values[start : start + len(a)]
        start += len(a)
    power = torch.from_numpy(matrix / matrix.sum(0))
    for _ in range(LOG_STEPS):
        power = power @ power
    return (scores.flatten(1).to(power.dtype) @ power).view(scores.shape).numpy()


def in_child(kind: str, channel: Connection) -> None:
    torch.set_num_threads(1)
    function = {"sparse": sparse_walk, "dense": dense_walk}[kind]
    affinities, scores = walk_input()
    walk(torch.ones(1, 1, 2), transition(torch.ones(1), [(0, 1)], 1, 2, 1.0), 1)  # loads libraries
    before = peak_mib()
    seconds, result = timed(lambda: function(affinities, scores))
    channel.send((seconds, peak_mib() - before, result))


def compare_walks() -> None:
    found = {}
    for kind in ("sparse", "dense"):
        here, there = get_context("spawn").Pipe()
        process = get_context("spawn").Process(target=in_child, args=(kind, there))
        process.start()
        found[kind] = here.recv()
        process.join()
    (fast, small, ours), (slow, large, single) = found["sparse"], found["dense"]
    plain = dense_walk(*walk_input(), dtype=np.float64)
    top = np.sort(plain, 0)
    clear = top[-1] - top[-2] > 1e-5
    print(f"walk    sparse {fast:.3f} s, {small:.0f} MiB; dense {slow:.2f} s, {large:.0f} MiB")
    print(f"        {slow / fast:.0f} times as fast, {large / max(small, 1):.0f} times less memory")
    same = (ours.argmax(0) == plain.argmax(0))[clear].mean()
    errors = [np.abs(result / plain - 1).max() for result in (ours, single)]
    print(
        f"        against dense in float64: same winner in {100 * same:.2f} % of clear cells, largest "
        f"relative difference {errors[0]:.1e} (of dense in float32 {errors[1]:.1e})"
    )
    target(slow / fast >= 30, "at least 30 times as fast")
    target(large / max(small, 1) >= 10, "at most a tenth of the memory")
    target(same == 1 and errors[0] <= 1e-5, "the same winners, relative differences of at most 1e-5")


def photos_of(root: Path | None, count: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return photos with CAMs that are blurred masks, and their classes."""
    with tempfile.TemporaryDirectory() as drawn:
        if root is None:
            root = Path(drawn)
            write_sample(root, train=count, val=1, size=400, seed=0)
        dataset = VocDataset(root)
        ids = dataset.split("train")[:count]
        tasks = []
        for id, label in zip(ids, dataset.labels(ids), strict=True):
            keys, mask = np.flatnonzero(label), dataset.mask(id)
            cams = torch.stack([torch.from_numpy(mask == key + 1).float() for key in keys])
            blurred = torch.nn.functional.avg_pool2d(cams[None], 41, 1, 20, count_include_pad=False)[0]
            peak = blurred.amax((1, 2), keepdim=True).clamp(min=1e-5)
            tasks.append((np.asarray(dataset.image(id)), (blurred / peak).numpy(), keys))
    return tasks


def crf_all(rgb: np.ndarray, cams: np.ndarray, keys: np.ndarray, params: PseudoMasksParams) -> np.ndarray:
    """The same over all 21 labels, absent classes with score 0, as the first public code has it."""
    scores = np.zeros((LABELS, *rgb.shape[:2]), np.float32)
    scores[[0, *(keys + 1)]] = with_background(background_score(cams, params.background_exponent), cams)
    return dense_crf(rgb, scores, params.crf).argmax(0).astype(np.uint8)


def compare_crfs(root: Path | None, count: int) -> None:
    params = PseudoMasksParams()
    tasks = [(*photo, params) for photo in photos_of(root, count)]
    plain, all_labels = timed(lambda: [crf_all(*task) for task in tasks])
    ours, one = timed(lambda: [cam_to_sure_mask_with_crf(*task) for task in tasks])
    pool = ImagePool(2)
    pool.map(cam_to_sure_mask_with_crf, tasks[:2])  # starts the processes
    two, both = timed(lambda: pool.map(cam_to_sure_mask_with_crf, tasks))
    pool.close()
    assert all(np.array_equal(a, b) for a, b in zip(one, both, strict=True))
    print(
        f"crf     {len(tasks)} photos: 21 labels {plain:.1f} s, "
        f"classes present {ours:.1f} s, two processes {two:.1f} s"
    )
    alike = np.concatenate([(a == b[0]).ravel() for a, b in zip(all_labels, one, strict=True)]).mean()
    print(f"        the same label as of 21 at {100 * alike:.3f} % of the pixels")
    target(plain / ours >= 2.2, f"at least 2.2 times as fast, found {plain / ours:.2f}")
    target(ours / two >= 1.8, f"two processes at least 1.8 times more, found {ours / two:.2f}")
    target(alike >= 0.999, "the same masks: at 99.9 % of the pixels at least")


def timed_mask(*task: Any) -> float:
    """Return the seconds that one photo takes in the process that refines it."""
    began = time.perf_counter()
    cam_to_sure_mask_with_crf(*task)
    return time.perf_counter() - began


def compare_chunks(root: Path | None, count: int) -> None:
    tasks = [(*photo, PseudoMasksParams()) for photo in photos_of(root, count)]
    pool = ImagePool(WORKERS)
    pool.map(timed_mask, tasks[:2])  # starts the processes
    print(f"chunk   {len(tasks)} photos, {WORKERS} processes: seconds (idle)")
    print("        images a step " + "".join(f"{f'{size} at once':>16}" for size in CHUNKSIZES))
    for per_worker in PER_WORKER:
        cells = []
        step = per_worker * WORKERS
        steps = [tasks[start : start + step] for start in range(0, len(tasks), step)]
        for size in CHUNKSIZES:
            process_pool.CHUNKSIZE = size
            began = time.perf_counter()
            busy = sum(sum(pool.map(timed_mask, step)) for step in steps)
            wall = time.perf_counter() - began
            cells.append(f"{f'{wall:.1f} ({1 - busy / (WORKERS * wall):.1%})':>16}")
        print(f"        {f'{per_worker} × {WORKERS}':>13} " + "".join(cells), flush=True)
    pool.close()


def compare_pairs() -> None:
    torch.set_num_threads(1)
    offsets = pair_offsets(RADIUS)
    labels = torch.randint(0, 3, (1, 56, 56), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    features = torch.randn(1, 448, 56, 56, requires_grad=True)

    def loss() -> None:
        features.grad = None
        affinity_loss(pair_affinities(features, offsets), pair_labels(labels, offsets)).backward()

    ours, _ = timed(loss)
    for name in ("resnet50", "efficientnet_lite0"):
        backbone = create_backbone(name, "none").eval()
        x = torch.randn(1, 3, 448, 448)
        with torch.no_grad():
            backbone(x)
            theirs, _ = timed(lambda backbone=backbone, x=x: backbone(x))
        print(f"pairs   loss {ours:.3f} s, {name} forward {theirs:.3f} s: {ours / theirs:.2f} of it")
        target(ours / theirs <= 1.5, "at most 1.5 times the forward")


SIZE = 128, 160
TENTHS = 10


def same_images(folder: Path, count: int) -> tuple[SimpleNamespace, dict[str, Path]]:
    """Return data and inputs in which the same image stands again and again, with CAMs of two classes."""
    random = np.random.default_rng(0)
    photo = random.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    Image.fromarray(photo).save(folder / "photo.jpg")
    ids = [f"image-{number:05d}" for number in range(count)]
    maps = random.random((2, *SIZE), dtype=np.float32).astype(np.float16)
    cams, work = folder / "cams", folder / "cams-work"
    shards = split_shards(ids)
    for place in (cams, work):
        place.mkdir()
    for number, shard in enumerate(shards):
        write_shard(work, number, dict.fromkeys(shard, maps))
    write_index(work, cams, shards, dict.fromkeys(ids, np.array([0, 1])))
    params = AffinityParams(backbone="efficientnet_lite0", weights="none")
    affinity = folder / "affinity"
    affinity.mkdir()
    save_file(build_affinity(params, weights="none").state_dict(), affinity / WEIGHTS)
    write_json(affinity / ABOUT, {"params": params.model_dump(mode="json")})
    dataset = SimpleNamespace(
        image=lambda id: Image.fromarray(photo), image_path=lambda id: folder / "photo.jpg"
    )
    data = SimpleNamespace(
        train=ids,
        labelled_ids=ids,
        dataset=dataset,
        fingerprints=Fingerprints(None),
        photo=lambda id: photo,
    )
    return data, {"cams": cams, "affinity": affinity}


def measure_flatness(count: int) -> None:
    """Send the same image through the stages again and again."""
    torch.set_num_threads(1)
    few = CrfParams(iterations=2)
    cases: list[tuple[str, Any, Any]] = [
        ("affinity labels", AffinityLabels, AffinityLabelsParams(crf=few)),
        ("masks by CRF", PseudoMasks, PseudoMasksParams(crf=few)),
        ("by walk and CRF", PseudoMasks, PseudoMasksParams(crf=few, walk=WalkParams(log_steps=4, crf=True))),
    ]
    with tempfile.TemporaryDirectory() as place:
        data, inputs = same_images(Path(place), count)
        print(f"flat    {count} images of {SIZE[0]} × {SIZE[1]}, two processes")
        for name, kind, params in cases:
            work = Path(place) / f"work-{name}"
            work.mkdir()
            stage = kind(Context(params, inputs, data, 0, "cpu", WORKERS, work))
            flatness(name, stage, count)
            stage.close()


def flatness(name: str, stage: Any, count: int) -> None:
    """Take all steps of a stage; tell its time and memory in the second tenth and in the last."""
    me = psutil.Process()
    parts = min(TENTHS, stage.steps)
    bounds = [round(part * stage.steps / parts) for part in range(parts + 1)]
    marks = []
    for start, stop in itertools.pairwise(bounds):
        began = time.perf_counter()
        images = sum(stage.step()["images"] for _ in range(start, stop))
        memory = sum(one.memory_info().rss for one in [me, *me.children(recursive=True)]) / MIB
        marks.append((1000 * (time.perf_counter() - began) / images, memory))
    (second, held), (last, holds) = marks[1], marks[-1]
    print(
        f"        {name:16s} {second:6.1f} ms an image in the second tenth, {last:6.1f} in the last", end=""
    )
    print(f"; {held:.0f} MiB after it, {holds:.0f} at the end")
    target(last <= 1.25 * second, f"{name}: at most a quarter slower at the end")
    target(holds - held <= 32, f"{name}: at most 32 MiB more at the end")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=default_root(), help=ROOT_HELP)
    parser.add_argument("--photos", type=int, default=40)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--only", nargs="+", choices=["walk", "crf", "chunk", "pairs", "flat"])
    asked = parser.parse_args()
    steps: dict[str, Callable[[], None]] = {
        "walk": compare_walks,
        "crf": lambda: compare_crfs(asked.root, asked.photos),
        "chunk": lambda: compare_chunks(asked.root, asked.photos),
        "pairs": compare_pairs,
        "flat": lambda: measure_flatness(asked.images),
    }
    for name in asked.only or steps:
        steps[name]()
    conclude()


if __name__ == "__main__":
    main()
