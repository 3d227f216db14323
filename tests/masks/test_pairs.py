"""Pairs against double loops over cells, counts of the literature, and differences."""

from __future__ import annotations

import functools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from wsss.masks.pairs import (
    Offset,
    affinity_loss,
    boundary_affinities,
    line_cells,
    pair_affinities,
    pair_labels,
    pair_offsets,
    windows,
)
from wsss.models.computing.memory import PeakMemory

Cell = tuple[int, int]


def pairs_of(height: int, width: int, radius: int, crop: int = 0) -> list[tuple[Cell, Cell]]:
    """The pairs in the order in which they come, from the windows' slices."""
    found = []
    for offset in pair_offsets(radius):
        (rows, columns), (other_rows, other_columns) = windows(height, width, offset, crop)
        cells = [(y, x) for y in range(height)[rows] for x in range(width)[columns]]
        others = [(y, x) for y in range(height)[other_rows] for x in range(width)[other_columns]]
        found += list(zip(cells, others, strict=True))
    return found


@pytest.mark.parametrize(("radius", "count"), [(3, 12), (4, 22), (5, 34), (7, 72), (10, 152)])
def test_numbers_of_offsets(radius: int, count: int) -> None:
    offsets = pair_offsets(radius)
    assert len(offsets) == len(set(offsets)) == count
    assert not {(-dy, -dx) for dy, dx in offsets} & set(offsets)


@pytest.mark.parametrize(
    ("size", "crop", "count"), [((56, 56), 0, 99_128), ((56, 56), 5, 84_864), ((47, 63), 0, 93_314)]
)
def test_numbers_of_pairs(size: Cell, crop: int, count: int) -> None:
    assert len(pairs_of(*size, 5, crop)) == count
    labels = torch.zeros(1, *size, dtype=torch.uint8)
    assert len(pair_labels(labels, pair_offsets(5), crop).background) == count


@pytest.mark.parametrize("size", [(7, 9), (3, 3), (1, 6)])
def test_every_pair_closer_than_the_radius_comes_once(size: Cell) -> None:
    cells = [(y, x) for y in range(size[0]) for x in range(size[1])]
    near = {frozenset((a, b)) for a in cells for b in cells if 0 < math.dist(a, b) < 4}
    found = pairs_of(*size, 4)
    assert len(found) == len(near)
    assert {frozenset(pair) for pair in found} == near


def test_the_cropped_set_leaves_ten_cells_of_56_squared_without_a_neighbour() -> None:
    touched = {cell for pair in pairs_of(56, 56, 5, crop=5) for cell in pair}
    assert 56 * 56 - len(touched) == 10


LABELS = torch.tensor([[[0, 0, 1], [255, 2, 1]]], dtype=torch.uint8)


def test_labels_of_pairs_counted_by_hand() -> None:
    """Radius 2: six horizontal and vertical neighbours and the diagonals, 11 pairs on 2 × 3 cells."""
    pairs = pair_labels(LABELS, pair_offsets(2))
    assert len(pairs.background) == 11
    where = {pair: number for number, pair in enumerate(pairs_of(2, 3, 2))}
    assert pairs.background.nonzero().tolist() == [[where[(0, 0), (0, 1)]]]
    assert pairs.foreground.nonzero().tolist() == [[where[(0, 2), (1, 2)]]]
    counts = [int(kind.sum()) for kind in pairs]
    # 0-0 is background; 1-1 is the same class; 0-1, 0-2, 0-1 and 2-0, 2-1, 2-1 differ; 3 touch 255.
    assert counts == [1, 1, 6]
    together = torch.stack(list(pairs)).sum(0)
    assert together.max() == 1, "the three kinds are disjoint"
    touching = [(a, b) for a, b in pairs_of(2, 3, 2) if 255 in (LABELS[0][a], LABELS[0][b])]
    assert int((together == 0).sum()) == len(touching) == 3


def loop_affinities(features: Tensor, radius: int) -> list[float]:
    return [
        math.exp(-float((features[(0, slice(None), *a)] - features[(0, slice(None), *b)]).abs().mean()))
        for a, b in pairs_of(features.shape[2], features.shape[3], radius)
    ]


def test_affinities_are_those_of_a_loop_and_between_0_and_1() -> None:
    features = torch.randn(1, 6, 5, 7, generator=torch.Generator().manual_seed(0))
    found = pair_affinities(features, pair_offsets(3))
    assert found.tolist() == pytest.approx(loop_affinities(features, 3), abs=1e-6)
    assert ((found > 0) & (found <= 1)).all()
    assert torch.equal(pair_affinities(torch.ones(2, 4, 6, 6), pair_offsets(3)).unique(), torch.ones(1))


def test_a_batch_is_its_images_side_by_side() -> None:
    features = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    offsets = pair_offsets(3)
    both, one, two = (pair_affinities(part, offsets) for part in (features, features[:1], features[1:]))
    sizes = [len(pairs_of(4, 5, 3))]
    assert len(both) == 2 * sizes[0]
    assert both.sum() == pytest.approx(float(one.sum() + two.sum()), rel=1e-6)
    labels = torch.randint(0, 3, (2, 4, 5), generator=torch.Generator().manual_seed(2)).to(torch.uint8)
    kinds = pair_labels(labels, offsets)
    chosen = sorted(both[kinds.different].tolist())
    apart = [
        pair_affinities(features[n : n + 1], offsets)[pair_labels(labels[n : n + 1], offsets).different]
        for n in (0, 1)
    ]
    assert chosen == pytest.approx(sorted(torch.cat(apart).tolist()))


@pytest.mark.parametrize("crop", [0, 3])
def test_the_gradient_of_affinities_is_that_of_plain_autograd(crop: int) -> None:
    features = torch.randn(2, 5, 6, 7, generator=torch.Generator().manual_seed(3), requires_grad=True)
    weights = None
    offsets = pair_offsets(3)
    found = pair_affinities(features, offsets, crop)
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(4))
    (gradient,) = torch.autograd.grad((found * weights).sum(), features)
    plain = []
    for offset in offsets:
        first, second = windows(6, 7, offset, crop)
        plain.append((-(features[:, :, *first] - features[:, :, *second]).abs().mean(1)).exp().flatten())
    (expected,) = torch.autograd.grad((torch.cat(plain) * weights).sum(), features)
    torch.testing.assert_close(gradient, expected)


def plain_affinities(features: Tensor, offsets: list[Offset]) -> Tensor:
    """All offsets' differences at once, kept for the way back by autograd."""
    parts = []
    for offset in offsets:
        first, second = windows(*features.shape[2:], offset)
        parts.append((-(features[:, :, *first] - features[:, :, *second]).abs().mean(1)).exp().flatten())
    return torch.cat(parts)


def plain_boundary_affinities(boundary: Tensor, offsets: list[Offset]) -> Tensor:
    parts = []
    for offset in offsets:
        rows, columns = windows(*boundary.shape[1:], offset)[0]
        cells = [
            boundary[:, rows.start + dy : rows.stop + dy, columns.start + dx : columns.stop + dx]
            for dy, dx in line_cells(offset)
        ]
        parts.append(1 - functools.reduce(torch.maximum, cells).flatten())
    return torch.cat(parts)


@pytest.mark.parametrize(
    ("chunked", "plain", "shape", "radius", "saved"),
    [
        (pair_affinities, plain_affinities, (1, 64, 28, 28), 5, 8),
        (boundary_affinities, plain_boundary_affinities, (1, 56, 56), 10, 2),
    ],
)
def test_training_on_pairs_offset_by_offset_takes_a_fraction_of_the_memory(
    chunked: Any, plain: Any, shape: tuple[int, ...], radius: int, saved: int
) -> None:
    """Loss and gradient, against all offsets at once; the results are the same."""
    offsets = pair_offsets(radius)
    generator = torch.Generator().manual_seed(6)
    values = torch.rand(shape, generator=generator, requires_grad=True)
    labels = torch.randint(0, 3, (1, *shape[-2:]), generator=generator).to(torch.uint8)
    pairs = pair_labels(labels, offsets)
    peaks, gradients = [], []
    for affinities in (chunked, plain):
        with PeakMemory() as memory:
            (gradient,) = torch.autograd.grad(affinity_loss(affinities(values, offsets), pairs), values)
        peaks.append(memory.peak)
        gradients.append(gradient)
    assert peaks[0] * saved < peaks[1], peaks
    torch.testing.assert_close(gradients[0], gradients[1])


def test_the_loss_at_its_best_and_at_one_half() -> None:
    pairs = pair_labels(LABELS, pair_offsets(2))
    perfect = (pairs.foreground | pairs.background).float()
    assert float(affinity_loss(perfect, pairs)) == pytest.approx(0, abs=2e-5)
    half = torch.full((11,), 0.5)
    # Denominators have 1e-5 too, which a single pair feels.
    assert float(affinity_loss(half, pairs)) == pytest.approx(math.log(2), abs=5e-5)


def test_each_kind_of_pair_has_its_share_of_the_loss() -> None:
    pairs = pair_labels(LABELS, pair_offsets(2))
    for kind, share, wrong in (
        (pairs.background, 0.25, 0.1),
        (pairs.foreground, 0.25, 0.1),
        (pairs.different, 0.5, 0.9),
    ):
        good = (pairs.foreground | pairs.background).float()
        good[kind] = wrong
        assert float(affinity_loss(good, pairs)) == pytest.approx(-share * math.log(0.1), abs=1e-3)
    nothing = pair_labels(torch.full((1, 2, 3), 255, dtype=torch.uint8), pair_offsets(2))
    assert float(affinity_loss(torch.full((11,), 0.5), nothing)) == 0


def test_lines_are_thick_enough_that_no_wall_is_jumped() -> None:
    assert line_cells((0, 3)) == [(0, 0), (0, 1), (0, 2), (0, 3)]
    assert set(line_cells((2, -2))) >= {(0, 0), (1, -1), (2, -2)}
    for offset in pair_offsets(6):
        cells = set(line_cells(offset))
        assert {(0, 0), offset} <= cells
        reached, todo = {(0, 0)}, [(0, 0)]
        while todo:
            y, x = todo.pop()
            for cell in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                if cell in cells - reached:
                    reached.add(cell)
                    todo.append(cell)
        assert offset in reached, "4-connected: a diagonal wall has no holes"


def test_boundary_affinities_are_those_of_a_loop() -> None:
    boundary = torch.rand(1, 6, 7, generator=torch.Generator().manual_seed(5), requires_grad=True)
    offsets = pair_offsets(4)
    found = boundary_affinities(boundary, offsets)
    expected = []
    for offset in offsets:
        (rows, columns), _ = windows(6, 7, offset)
        for y in range(6)[rows]:
            for x in range(7)[columns]:
                line = [float(boundary.detach()[0, y + dy, x + dx]) for dy, dx in line_cells(offset)]
                expected.append(1 - max(line))
    assert found.tolist() == pytest.approx(expected, abs=1e-6)
    found.sum().backward()
    assert boundary.grad is not None
    assert float(boundary.grad.sum()) == pytest.approx(-len(expected), rel=1e-5), (
        "each pair has one weakest cell"
    )
