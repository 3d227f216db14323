"""Walking a photo's CAMs: against the pieces put together by hand, and on less memory than it takes."""

from __future__ import annotations

import itertools
import logging
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d, interpolate, pad

from wsss.config.params.stages import AffinityParams, CamsParams, PseudoMasksParams, WalkParams
from wsss.errors import ConfigError, StageError
from wsss.masks.pairs import boundary_affinities, pair_affinities, pair_offsets
from wsss.masks.random_walk import pooled, transition, walk
from wsss.models import AffinityNetwork, BoundaryNetwork, create_backbone
from wsss.models.computing.memory import PeakMemory
from wsss.stages import STAGES
from wsss.stages.refining.walker import Walker
from wsss.stages.training.affinity import build_affinity

RGB = np.random.default_rng(0).integers(0, 256, (50, 67, 3), dtype=np.uint8)
CAMS = np.random.default_rng(1).random((2, 50, 67), dtype=np.float32)


@pytest.fixture(scope="module")
def affinity() -> AffinityNetwork:
    torch.manual_seed(0)
    return AffinityNetwork(create_backbone("efficientnet_lite0", "none"))


@pytest.fixture(scope="module")
def boundary() -> BoundaryNetwork:
    torch.manual_seed(0)
    return BoundaryNetwork(create_backbone("efficientnet_lite0", "none"))


def test_it_is_the_published_walk_step_by_step(affinity: AffinityNetwork) -> None:
    """Pad to a multiple of all strides, square the dense matrix, pool, walk, upsample, crop."""
    found = Walker(affinity, WalkParams(log_steps=4), "cpu")(RGB, CAMS.astype(np.float16))
    with torch.inference_mode():
        x = (torch.from_numpy(RGB).permute(2, 0, 1)[None] / 255 - 0.5) / 0.5
        features = affinity(pad(x, (0, 80 - 67, 0, 64 - 50)))[:, :, :7, :9]
        assert affinity.nesting == 16
        values = iter(pair_affinities(features, pair_offsets(5)).tolist())
    matrix = np.eye(63)
    for dy, dx in pair_offsets(5):
        for row in range(7 - dy):
            for column in range(max(0, -dx), 9 - max(0, dx)):
                a, b = row * 9 + column, (row + dy) * 9 + column + dx
                matrix[a, b] = matrix[b, a] = next(values) ** 8
    power = np.linalg.matrix_power(matrix / matrix.sum(0), 16)
    cams = CAMS.astype(np.float16).astype(np.float32)
    scores = np.concatenate([(1 - cams.max(0, keepdims=True)) ** 16, cams])
    padded = np.pad(scores, ((0, 0), (0, 6), (0, 5)))
    small = avg_pool2d(torch.from_numpy(padded)[None], 8)[0].flatten(1).double().numpy() @ power
    grown = interpolate(torch.from_numpy(small).view(1, 3, 7, 9), scale_factor=8, mode="bilinear")[0]
    np.testing.assert_allclose(found, grown[:, :50, :67].numpy(), atol=1e-4)


def boundary_walk(network: BoundaryNetwork, rgb: np.ndarray, cams: np.ndarray, beta: int) -> np.ndarray:
    """IRNet's inference in loops over cells and a dense matrix: scores of 4 steps, not yet divided."""
    height, width = rgb.shape[0] // 4, rgb.shape[1] // 4
    with torch.inference_mode():
        x = torch.from_numpy(rgb).permute(2, 0, 1)[None] / 255
        x = (x - torch.tensor(network.mean).view(1, 3, 1, 1)) / torch.tensor(network.std).view(1, 3, 1, 1)
        logits = (network(x)[0] + network(x.flip(-1))[0].flip(-1)) / 2
    edge = (1 / (1 + np.exp(-logits.double().numpy()))).tolist()
    cells = [(y, x) for y in range(height) for x in range(width)]
    matrix = np.eye(len(cells))
    for number, (y, x) in enumerate(cells):
        for other, (v, u) in enumerate(cells[:number]):
            length = math.hypot(y - v, x - u)
            if length < 5:
                box = itertools.product(range(v, y + 1), range(min(x, u), max(x, u) + 1))
                # Less than a cell off the line through both: the distance of a point from a line.
                line = [(b, a) for b, a in box if abs((y - v) * (a - u) - (x - u) * (b - v)) / length < 1]
                weight = (1 - max(edge[b][a] for b, a in line)) ** beta
                matrix[number, other] = matrix[other, number] = weight
    power = np.linalg.matrix_power(matrix / matrix.sum(0), 4)
    small = cams.reshape(len(cams), height, 4, width, 4).mean((2, 4)).astype(np.float64) * (
        1 - np.array(edge)
    )
    walked = torch.from_numpy(small.reshape(len(cams), -1) @ power).view(1, -1, height, width)
    return interpolate(walked, scale_factor=4, mode="bilinear")[0].numpy()


def test_it_is_irnets_walk_step_by_step() -> None:
    """Flip-averaged logits, 1 − the largest boundary on a line, CAMs outside boundaries, one maximum."""
    torch.manual_seed(3)
    network = BoundaryNetwork(create_backbone("efficientnet_lite0", "none")).eval()
    with torch.no_grad():
        network.mix.weight *= 20  # boundaries from nearly none to nearly sure
    rgb, cams = np.tile(RGB, (1, 2, 1))[:32, :64].copy(), np.tile(CAMS, (1, 1, 2))[:, :32, :64].copy()
    cams[0] *= 0.5
    params = WalkParams(background_threshold=0.25, beta=2, log_steps=2)
    found = Walker(network, params, "cpu")(rgb, cams)
    expected = boundary_walk(network, rgb, cams, 2)
    assert expected[0].max() < 0.7 * expected[1].max(), "a maximum for each class would be seen"
    np.testing.assert_allclose(found[0], 0.25)
    np.testing.assert_allclose(found[1:], expected / expected.max(), atol=1e-5)

    by_class = Walker(network, params.model_copy(update={"normalise": "class"}), "cpu")(rgb, cams)
    np.testing.assert_allclose(by_class[0], 0.25)
    maxima = expected.max((1, 2), keepdims=True)
    np.testing.assert_allclose(by_class[1:], expected / maxima, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(50, 67), (50, 130), (32, 64)])
def test_boundaries_see_the_canvas_that_their_network_learnt_on(height: int, width: int) -> None:
    """IRNet's inference: the photo and its mirror image, each at the upper left of zeros of at least the crop's
    side, whose statistics group normalisation takes; then both are cropped to the photo's cells."""
    torch.manual_seed(3)
    params = AffinityParams(kind="boundary", backbone="efficientnet_lite0", weights="none", crop=112)
    network = build_affinity(params).eval()
    assert isinstance(network, BoundaryNetwork)
    with torch.no_grad():
        network.mix.weight *= 20
    rgb = np.tile(RGB, (1, 2, 1))[:height, :width].copy()
    rows, columns = math.ceil(height / 4), math.ceil(width / 4)
    with torch.inference_mode():
        x = (rgb / 255 - network.mean) / network.std
        canvas = np.zeros((2, 112, max(112, math.ceil(width / 16) * 16), 3), np.float32)
        canvas[0, :height, :width], canvas[1, :height, :width] = x, x[:, ::-1]
        logits = network(torch.from_numpy(canvas.transpose(0, 3, 1, 2).copy()))[:, :rows, :columns].numpy()
        alone = network(
            torch.from_numpy(canvas[:1, : math.ceil(height / 16) * 16, :width].transpose(0, 3, 1, 2).copy())
        )
        walker = Walker(network, WalkParams(background_threshold=0.25, beta=2, log_steps=0), "cpu")
        walked = []
        network.register_forward_hook(lambda _, inputs, output: walked.append((inputs[0].shape, output)))
        found = walker(rgb, np.ones((1, height, width), np.float32))
    expected = 1 / (1 + np.exp(-(logits[0] + logits[1, :, ::-1]) / 2))
    assert walked[0][0] == (2, 3, *canvas.shape[1:3])
    seen = 1 / (1 + np.exp(-alone[0, :rows, :columns].numpy()))
    assert np.abs(seen - expected[:, : seen.shape[1]]).max() > 0.05, "without the canvas it would be another"
    # One step of the walk from a flat map: the cells' own (1 − B) over the columns of A^β.
    both = torch.stack([torch.from_numpy(expected.astype(np.float32))] * 1)
    matrix = transition(boundary_affinities(both, pair_offsets(5)), pair_offsets(5), rows, columns, 2)
    scores = walk(pooled(torch.ones(1, height, width), 4, (rows, columns)) * (1 - both), matrix, 1)
    grown = interpolate(scores[None], scale_factor=4, mode="bilinear")[0, 0, :height, :width]
    np.testing.assert_allclose(found[1], (grown / grown.max()).numpy(), atol=1e-4)


def test_the_canvas_counts_in_the_memory_and_walks_on_smaller_copies_do_not_help_below_it() -> None:
    network = BoundaryNetwork(create_backbone("efficientnet_lite0", "none"), canvas=256)
    walker = Walker(network, WalkParams(log_steps=1), "cpu")
    rgb, cams = np.zeros((65, 160, 3), np.uint8), np.ones((3, 65, 160), np.float32)
    with PeakMemory() as memory:
        walker(rgb, cams)
    assert 1.5 * memory.peak < walker.memory(65, 160) < 4 * memory.peak
    walker.budget = walker.memory(65, 160)
    assert walker.fitting_size(65, 160) == (65, 160)
    assert min(walker.fitting_size(1000, 2000)) > 65


def test_keys_change_where_there_is_a_walk_and_once_more_of_boundaries() -> None:
    plain, walking = PseudoMasksParams(), PseudoMasksParams(walk=WalkParams())
    boundary, affinity = AffinityParams(kind="boundary"), AffinityParams()
    cams = CamsParams()
    assert STAGES["pseudo_masks"].revision(plain, {"cams": cams}) == 0
    assert STAGES["pseudo_masks"].revision(walking, {"cams": cams, "affinity": affinity}) == 1
    assert STAGES["pseudo_masks"].revision(walking, {"cams": cams, "affinity": boundary}) == 2


def test_dividing_class_by_class_is_off_until_asked_for_and_needs_a_threshold() -> None:
    assert "normalise" not in WalkParams(background_threshold=0.25).content()
    asked = WalkParams.model_validate({"background_threshold": 0.25, "normalise": "class"})
    assert PseudoMasksParams(walk=asked).content()["walk"]["normalise"] == "class"
    with pytest.raises(ValueError, match="`normalise: class` needs a `background_threshold`"):
        WalkParams.model_validate({"normalise": "class"})


def test_a_threshold_leaves_the_background_out_of_the_walk(boundary: BoundaryNetwork) -> None:
    params = WalkParams(background_threshold=0.25, beta=10, log_steps=2)
    found = Walker(boundary, params, "cpu")(RGB, CAMS)
    assert found.shape == (3, 50, 67)
    assert np.unique(found[0]).tolist() == [0.25]
    assert found[1:].max() == pytest.approx(1, abs=0.1) and found.min() >= 0


def test_the_boundary_of_a_mirrored_photo_is_the_mirrored_boundary(boundary: BoundaryNetwork) -> None:
    walker = Walker(boundary, WalkParams(background_threshold=0.25, log_steps=2), "cpu")
    rgb, cams = RGB[:48, :64], CAMS[:, :48, :64]
    plain = walker(rgb, cams)
    mirrored = walker(np.ascontiguousarray(rgb[:, ::-1]), np.ascontiguousarray(cams[:, :, ::-1]))
    np.testing.assert_allclose(mirrored[:, :, ::-1], plain, atol=2e-3)


def test_a_photo_too_large_for_the_memory_walks_on_a_smaller_copy_and_says_so(
    affinity: AffinityNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    rgb, cams = np.repeat(RGB, 4, 0).repeat(4, 1), CAMS.repeat(4, 1).repeat(4, 2)
    whole = Walker(affinity, WalkParams(log_steps=4), "cpu")
    needed = whole.memory(200, 268) / 2**30
    small = Walker(affinity, WalkParams(log_steps=4, memory=needed / 2), "cpu")
    height, width = small.fitting_size(200, 268)
    assert small.memory(height, width) <= small.params.memory * 2**30
    assert height / width == pytest.approx(200 / 268, rel=0.02)
    assert small(rgb, cams).shape == (3, 200, 268)
    with caplog.at_level(logging.WARNING, "wsss"):
        found = small.prepare({"photo_7": (200, 268), "photo_8": (20, 30)})
    assert found == {"photo_7": (height, width)}
    (message,) = caplog.messages
    assert message.startswith("1 of 2 photos are walked on smaller copies: photo_7 of 268 × 200 pixels would")
    assert message.endswith(f"it is walked on {width} × {height}")
    near = np.abs(small(rgb, cams) - whole(rgb, cams)).mean()
    assert near < 0.1, "it is nearly the same walk"
    assert whole.fitting_size(200, 268) == (200, 268)


def test_less_that_is_free_makes_smaller_copies_too_and_says_so(
    affinity: AffinityNetwork, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    walker = Walker(affinity, WalkParams(memory=64), "cpu")
    monkeypatch.setattr(walker, "_free", lambda: 2**30)
    with caplog.at_level(logging.WARNING, "wsss"):
        found = walker.prepare({"a": (375, 500), "b": (6000, 8000)})
    assert [*found] == ["b"]
    assert 0.5 * 2**30 < walker.memory(*found["b"]) <= 0.8 * 2**30
    assert walker.fitting_size(6000, 8000) == found["b"], "it walks as it said"
    assert "more than the 0.80 that it may take of 1.00 free on cpu; it is walked on" in caplog.messages[0]


@pytest.mark.parametrize(("memory", "free", "words"), [
    (64, 2**20, r"more than the 0\.00 that it may take of 0\.00 free on cpu"),
    (0.001, 2**40, r"more than `walk.memory`, which is 0\.001"),
])  # fmt: skip
def test_less_than_a_few_cells_take_is_refused_before_the_first_walk(
    affinity: AffinityNetwork, monkeypatch: pytest.MonkeyPatch, memory: float, free: int, words: str
) -> None:
    walker = Walker(affinity, WalkParams(memory=memory), "cpu")
    monkeypatch.setattr(walker, "_free", lambda: free)
    with pytest.raises(
        StageError, match=r"the walk of b takes \d\.\d\d GiB even on \d+ × \d+ pixels, " + words
    ):
        walker.prepare({"b": (600, 800)})


def test_with_cropped_pairs_the_walk_leaves_cells_near_three_corners_alone(affinity: AffinityNetwork) -> None:
    rgb, cams = np.tile(RGB, (3, 3, 1))[:128, :160], np.tile(CAMS, (1, 3, 3))[:, :128, :160]
    full, cropped = (
        Walker(affinity, WalkParams(beta=1, pairs=pairs), "cpu")(rgb, cams) for pairs in ("full", "cropped")
    )
    pooled = cams.reshape(2, 16, 8, 20, 8).mean((2, 4))
    # Upsampled, an inner pixel has a share of the next cell; the very corner is its own cell alone.
    for y, x in ((0, 0), (-1, 0), (-1, -1)):
        np.testing.assert_allclose(cropped[1:, y, x], pooled[:, y, x], atol=1e-6)
        assert np.abs(full[1:, y, x] - pooled[:, y, x]).max() > 1e-4
    assert np.abs(cropped[1:, 0, -1] - pooled[:, 0, -1]).max() > 1e-4


def test_cropped_pairs_leave_keys_alone_until_switched_on_and_belong_to_affinities() -> None:
    plain = PseudoMasksParams(walk=WalkParams()).content()
    assert "pairs" not in plain["walk"]
    cropped = PseudoMasksParams(walk=WalkParams(pairs="cropped"))
    assert cropped.content()["walk"]["pairs"] == "cropped"
    STAGES["pseudo_masks"].check_sources(cropped, {"affinity": AffinityParams()})
    with pytest.raises(ConfigError, match=r"belongs to `affinity: \{kind: affinity\}`"):
        STAGES["pseudo_masks"].check_sources(cropped, {"affinity": AffinityParams(kind="boundary")})


NETWORKS = {"affinity": AffinityNetwork, "boundary": BoundaryNetwork}


@pytest.mark.parametrize("backbone", ["efficientnet_lite0", "resnet50"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_a_walk_takes_no_more_than_its_estimate_and_not_much_less(backbone: str, kind: str) -> None:
    """All tensors alive at once, the mirrored photo's too; convolutions may take as much again."""
    network = NETWORKS[kind](create_backbone(backbone, "none"))
    walker = Walker(network, WalkParams(log_steps=1), "cpu")
    for height, width in ((65, 160), (192, 256)):
        rgb, cams = np.zeros((height, width, 3), np.uint8), np.ones((3, height, width), np.float32)
        with PeakMemory() as memory:
            walker(rgb, cams)
        assert 1.5 * memory.peak < walker.memory(height, width) < 4 * memory.peak


PROGRAM = """
import re, sys
from pathlib import Path
import numpy as np, torch
from wsss.config.params.stages import WalkParams
from wsss.models import AffinityNetwork, BoundaryNetwork, create_backbone
from wsss.stages.training.network import to_channels_last
from wsss.stages.refining.walker import Walker
torch.set_num_threads(1)
network = {"affinity": AffinityNetwork, "boundary": BoundaryNetwork}[sys.argv[1]](create_backbone(sys.argv[2], "none"))
to_channels_last(network)
walker = Walker(network, WalkParams(log_steps=1), "cpu")
status = lambda key: int(re.search(key + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text()).group(1)) * 1024
before = status("VmRSS")
walker(np.zeros((480, 640, 3), np.uint8), np.ones((3, 480, 640), np.float32))
print(status("VmHWM") - before, walker.memory(480, 640))
"""


@pytest.mark.parametrize(
    ("kind", "backbone"), [("affinity", "mobilenet_v2"), ("boundary", "efficientnet_lite0")]
)
def test_a_process_grows_by_no_more_than_the_estimate(kind: str, backbone: str) -> None:
    """What the kernel saw at its peak, with all that libraries allocate for themselves."""
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, kind, backbone], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    grown, estimate = map(int, run.stdout.split())
    assert estimate / 4 < grown < estimate
