"""Tiles give what one pass gives, and stay within the memory that was allowed."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from wsss.errors import ConfigError
from wsss.masks.segmentation import segment
from wsss.models.computing.memory import GIB, PeakMemory
from wsss.predict.predictor import enlarged_winners, pooled, winners
from wsss.predict.tiles import OVERLAP, Tiling, blend_weights, blended_rows, plan_tiles, tiling_memory


class Toy(nn.Module):
    """Fully convolutional, of stride 8, and looks no further than 40 pixels."""

    mean = (0.5, 0.5, 0.5)
    std = (0.5, 0.5, 0.5)

    def __init__(self, labels: int = 3, width: int = 6) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 8, stride=8), nn.ReLU(), nn.Conv2d(width, labels, 5, padding=2)
        )
        nn.init.normal_(self.layers[2].weight)

    def pyramid(self, x: Tensor, scales: tuple[float, ...]) -> list[Tensor]:
        from wsss.models.networks.deeplab import scaled

        return [self.layers(scaled(x, scale)) for scale in scales]


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("scales", "flip"), [((1.0,), False), ((0.5, 1.0, 1.25), True)])
def test_tiles_of_a_convolutional_network_equal_one_pass(scales: tuple[float, ...], flip: bool) -> None:
    network, photo = Toy().eval(), noise(1024, 1280)

    def run(part: np.ndarray) -> np.ndarray:
        return segment(network, part, scales=scales, flip=flip, device="cpu")

    tiling = plan_tiles(1024, 1280, 3, per_pixel=100, budget=100 * 640 * 640 + 4 * 3 * 900 * 1280)
    assert len(tiling.rows) > 1 and len(tiling.columns) > 1
    whole = run(photo)
    strips = list(blended_rows(photo, tiling, 3, run))
    assert [top for top, _ in strips] == [start for start, _ in tiling.rows]
    tiled = np.concatenate([scores for _, scores in strips], axis=1)
    assert tiled.shape == whole.shape
    assert np.abs(tiled - whole).max() < 1e-4  # also at the photo's own borders, which tiles share
    assert whole.std() > 0.05


def test_a_tile_that_sees_less_than_the_photo_is_faded_out() -> None:
    """A network that answers with the number of its call: the blend goes straight from one to the next."""
    calls: list[int] = []

    def run(part: np.ndarray) -> np.ndarray:
        calls.append(len(calls))
        return np.full((1, *part.shape[:2]), calls[-1], np.float32)

    tiling = Tiling(((0, 20),), ((0, 512), (256, 800)))
    _, scores = next(blended_rows(noise(20, 800), tiling, 1, run))
    row = scores[0, 0]
    assert np.all(row[: 256 + OVERLAP // 4] == 0) and np.all(row[512 - OVERLAP // 4 :] == 1)
    assert np.allclose(np.diff(row[256 + OVERLAP // 4 : 512 - OVERLAP // 4]), 2 / OVERLAP)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9000), st.integers(1, 9000), st.integers(2, 90), st.floats(0.2, 4))
def test_every_plan_covers_the_photo_and_fits(height: int, width: int, labels: int, gib: float) -> None:
    if gib * GIB < 768 * 768 * 1000 + 4 * labels * 1024 * width:
        with contextlib.suppress(ConfigError):
            plan_tiles(height, width, labels, 1000, gib * GIB)
        return  # so little that it may be refused
    tiling = plan_tiles(height, width, labels, 1000, gib * GIB)
    assert tiling_memory(tiling, labels, 1000) <= gib * GIB
    for spans, length in ((tiling.rows, height), (tiling.columns, width)):
        total = np.zeros(length)
        for number, (start, stop) in enumerate(spans):
            assert start % 32 == 0
            total[start:stop] += blend_weights(stop - start, number == 0, number == len(spans) - 1)
        assert np.allclose(total, 1)


def test_peak_memory_counts_what_is_alive_at_once() -> None:
    x = torch.zeros(1000)
    with PeakMemory() as memory:
        a = x + 1
        b = a + 1
        del a
        c = b.view(10, 100)
        c += x.view(10, 100)
        d = c * 2
    assert memory.peak == 8000
    del b, c, d
    assert memory.live == 0


def test_the_largest_score_wins_also_in_parts_and_enlarged() -> None:
    scores = np.random.default_rng(0).random((5, 70, 90), dtype=np.float32)
    assert np.array_equal(winners(scores), scores.argmax(0))
    small = pooled(scores, 4)
    assert small.shape == (5, 18, 23)
    assert small[2, 3, 4] == pytest.approx(scores[2, 12:16, 16:20].mean())
    assert small[1, 17, 22] == pytest.approx(scores[1, 68:, 88:].mean())
    grown = torch.nn.functional.interpolate(torch.from_numpy(small)[None], scale_factor=4, mode="bilinear")[0]
    ids = np.array([0, 2, 3, 7, 9])
    expected = ids[grown.numpy()[:, :70, :90].argmax(0)]
    assert np.array_equal(enlarged_winners(small, ids, 4, (70, 90)), expected)


PROGRAM = """
import re, sys
from pathlib import Path
import numpy as np, torch
from PIL import Image
from test_tiles import Toy
from wsss.predict.trained.model import Model
from wsss.predict.photos import Photo
from wsss.predict.predictor import Predictor, Settings
from wsss.predict.output import Output
from wsss.predict.run import predict
torch.set_num_threads(1)
folder, memory = Path(sys.argv[1]), float(sys.argv[2])
network = Toy(labels=21, width=64).eval()
model = Model(network, tuple(map(str, range(20))), (1.0,), "toy")
Model.to = lambda self, device: self
predictor = Predictor(model, Settings((1.0, 0.5), flip=True, memory=memory))
summary = predict(predictor, [Photo(folder / "large.jpg", "large")], Output(folder / "out", "jpg"))
# The kernel's peak of this program alone: getrusage would count the process that started it, too.
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text()).group(1)) * 1024
print(summary.areas["photos"]["large"]["tiles"], peak)
"""


@pytest.mark.long
def test_a_photo_of_24_megapixels_stays_within_the_memory(tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(noise(40, 60)).resize((6000, 4000)).save(tmp_path / "large.jpg")
    allowed = 1.75
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), str(allowed)],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": f"{Path(__file__).parent}:{Path(__file__).parents[2]}"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    tiles, peak = map(int, run.stdout.split())
    assert tiles > 4
    assert peak < allowed * GIB, f"took {peak / GIB:.2f} GiB"
    unbounded = 24e6 * 21 * 4  # the scores of the whole photo alone
    assert unbounded > allowed * GIB
    with Image.open(tmp_path / "out" / "large.png") as mask:
        assert mask.size == (6000, 4000)


def test_memory_for_not_even_the_smallest_tiles_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"4000 × 3000 pixels takes .* in the smallest tiles, but 0\.10"):
        plan_tiles(3000, 4000, 21, 1000, 0.1 * GIB)


def test_where_a_gpu_has_less_than_was_thought_tiles_are_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    from trained import CLASSES, make_network

    from wsss.errors import StageError
    from wsss.predict import predictor as module
    from wsss.predict.trained.model import Model

    network, _ = make_network()
    predictor = module.Predictor(Model(network, CLASSES, (1.0,), "id"), module.Settings((1.0,), memory=64))
    room, asked = 700 * 700, []

    def segment_batch(network: object, photos: list[np.ndarray], **more: object) -> list[np.ndarray]:
        area = sum(photo.shape[0] * photo.shape[1] for photo in photos)
        asked.append(area)
        if area > room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        scores = np.zeros((4, *photos[0].shape[:2]), np.float32)
        scores[2] = 1
        return [scores for _ in photos]

    monkeypatch.setattr(module, "segment_batch", segment_batch)
    monkeypatch.setattr(module, "segment", lambda network, photo, **more: segment_batch(network, [photo])[0])
    plan = predictor.plan(600, 1000)
    assert plan.tiling.count == 1 and plan.batch > 1
    masks = predictor.masks([noise(600, 1000)] * 2, plan)
    assert [mask.shape for mask in masks] == [(600, 1000)] * 2 and all((mask == 2).all() for mask in masks)
    assert asked[0] == 2 * 600 * 1000 and asked[-1] <= room
    failures = sum(area > room for area in asked)
    predictor.masks([noise(600, 1000)], plan)
    assert sum(area > room for area in asked) == failures, "later photos begin where this one ended"
    room = 1000
    with pytest.raises(StageError, match=r"out of memory on cpu: .*even in the smallest tiles"):
        predictor.masks([noise(600, 1000)], plan)
