"""The walk against dense matrices, chains worked out by hand, and what every walk must keep."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from wsss.errors import DataError
from wsss.masks.pairs import pair_offsets, windows
from wsss.masks.random_walk import pooled, transition, upsampled, walk


def count(height: int, width: int, radius: int, crop: int = 0) -> int:
    found = 0
    for offset in pair_offsets(radius):
        (rows, columns), _ = windows(height, width, offset, crop)
        found += len(range(height)[rows]) * len(range(width)[columns])
    return found


def dense(affinities: Tensor, height: int, width: int, radius: int, beta: float) -> np.ndarray:
    """T of the textbook, float64[N, N], columns summing to 1, filled entry by entry."""
    matrix = np.eye(height * width)
    values = iter(affinities.double().tolist())
    for dy, dx in pair_offsets(radius):
        for y in range(height - dy):
            for x in range(max(0, -dx), width - max(0, dx)):
                a, b = y * width + x, (y + dy) * width + x + dx
                matrix[a, b] = matrix[b, a] = next(values) ** beta
    assert next(values, None) is None
    return matrix / matrix.sum(0)


def made_up(height: int, width: int, radius: int, seed: int, sharp: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count(height, width, radius), generator=generator) ** sharp


DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA GPU")
    ),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("seed", range(20))
def test_sparse_is_dense(seed: int, device: str) -> None:
    rng = np.random.default_rng(seed)
    height, width, radius = int(rng.integers(2, 14)), int(rng.integers(2, 14)), int(rng.integers(2, 6))
    beta, log_steps = float(rng.choice([1.0, 4.0, 8.0])), int(rng.integers(0, 9))
    affinities = made_up(height, width, radius, seed)
    scores = torch.from_numpy(rng.random((3, height, width), dtype=np.float32))
    matrix = transition(affinities.to(device), pair_offsets(radius), height, width, beta)
    found = walk(scores.to(device), matrix, 2**log_steps).cpu()
    power = dense(affinities, height, width, radius, beta)
    for _ in range(log_steps):
        power = power @ power
    expected = (scores.double().flatten(1).numpy() @ power).reshape(3, height, width)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)
    top = np.sort(expected, 0)
    clear = top[-1] - top[-2] > 1e-5
    assert np.array_equal(found.numpy().argmax(0)[clear], expected.argmax(0)[clear])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("height", "width", "radius"), [(6, 9, 5), (2, 3, 5), (1, 7, 3), (7, 1, 3), (1, 1, 2)]
)
def test_rows_are_canonical(height: int, width: int, radius: int, device: str) -> None:
    """Columns ascend and none comes twice, which torch checks; cells near an edge have fewer."""
    affinities = made_up(height, width, radius, 0).to(device)
    matrix = transition(affinities, pair_offsets(radius), height, width, 8)
    torch.sparse_csr_tensor(
        matrix.crow_indices(), matrix.col_indices(), matrix.values(), matrix.shape, check_invariants=True
    )
    assert len(matrix.values()) == 2 * count(height, width, radius) + height * width
    assert np.array_equal(
        matrix.to_dense().cpu() != 0, dense(affinities.cpu(), height, width, radius, 8).T != 0
    )


def test_columns_sum_to_one_and_stay_so() -> None:
    matrix = transition(made_up(8, 9, 5, 1), pair_offsets(5), 8, 9, 8).to_dense().double()
    torch.testing.assert_close(matrix.sum(1), torch.ones(72, dtype=torch.float64), atol=3e-7, rtol=0)
    power = torch.linalg.matrix_power(matrix, 256)
    torch.testing.assert_close(power.sum(1), torch.ones(72, dtype=torch.float64), atol=1e-5, rtol=0)


def test_in_float64_columns_sum_to_one_within_1e_9() -> None:
    affinities = made_up(8, 9, 5, 1).double()
    matrix = transition(affinities, pair_offsets(5), 8, 9, 8).to_dense()
    assert matrix.dtype == torch.float64
    assert (matrix.sum(1) - 1).abs().max() < 1e-9
    assert (torch.linalg.matrix_power(matrix, 256).sum(1) - 1).abs().max() < 1e-9
    np.testing.assert_allclose(matrix.numpy().T, dense(affinities, 8, 9, 5, 8), rtol=1e-12)


def test_what_a_walk_keeps() -> None:
    affinities = made_up(9, 7, 4, 2)
    matrix = transition(affinities, pair_offsets(4), 9, 7, 2.0)
    constant = torch.full((1, 9, 7), 0.4)
    torch.testing.assert_close(walk(constant, matrix, 64), constant, atol=1e-6, rtol=0)
    scores = torch.rand(2, 9, 7, generator=torch.Generator().manual_seed(0))
    after = walk(scores, matrix, 16)
    for before_map, after_map in zip(scores, after, strict=True):
        assert before_map.min() <= after_map.min() and after_map.max() <= before_map.max() + 1e-6
    plain = np.eye(63)
    values = iter(affinities.tolist())
    for dy, dx in pair_offsets(4):
        for y in range(9 - dy):
            for x in range(max(0, -dx), 7 - max(0, dx)):
                a, b = y * 7 + x, (y + dy) * 7 + x + dx
                plain[a, b] = plain[b, a] = next(values) ** 2
    mass = torch.from_numpy(plain.sum(0)).float().view(9, 7)
    torch.testing.assert_close((mass * after).sum((1, 2)), (mass * scores).sum((1, 2)), rtol=1e-5, atol=0)


def test_a_chain_of_three_worked_out_by_hand() -> None:
    """Three cells in a row, neighbours alike by one half, β = 2: weights of one quarter."""
    matrix = transition(torch.tensor([0.5, 0.5]), [(0, 1)], 1, 3, 2.0)
    expected = torch.tensor([[0.8, 0.2, 0], [1 / 6, 2 / 3, 1 / 6], [0, 0.2, 0.8]])
    torch.testing.assert_close(matrix.to_dense(), expected)
    first = torch.tensor([[[1.0, 0, 0]]])
    assert walk(first, matrix, 1).flatten().tolist() == pytest.approx([0.8, 1 / 6, 0])
    assert walk(first, matrix, 2).flatten().tolist() == pytest.approx([0.67333, 0.24444, 0.03333], abs=1e-5)
    for score, share in zip(torch.eye(3), (0.3125, 0.375, 0.3125), strict=True):
        found = walk(score.view(1, 1, 3), matrix, 256)
        assert found.flatten().tolist() == pytest.approx([share] * 3, abs=1e-5)


def test_a_large_power_stops_the_walk() -> None:
    matrix = transition(made_up(6, 6, 3, 3) * 0.9, pair_offsets(3), 6, 6, 1e4)
    assert torch.equal(matrix.to_dense(), torch.eye(36))


def test_all_alike_ends_at_the_mean_weighted_by_neighbours() -> None:
    matrix = transition(torch.ones(count(5, 5, 3)), pair_offsets(3), 5, 5, 8.0)
    degrees = torch.tensor([float(row.count_nonzero()) for row in matrix.to_dense()])
    scores = torch.rand(1, 5, 5, generator=torch.Generator().manual_seed(1))
    expected = float((degrees * scores.flatten()).sum() / degrees.sum())
    torch.testing.assert_close(
        walk(scores, matrix, 2**10), torch.full((1, 5, 5), expected), atol=1e-5, rtol=0
    )


def test_nothing_crosses_a_wall() -> None:
    height, width, radius = 8, 10, 3
    parts = []
    for offset in pair_offsets(radius):
        (rows, columns), (_, others) = windows(height, width, offset)
        left = torch.arange(width)[columns] < 5
        right = torch.arange(width)[others] < 5
        parts.append((left == right).float().expand(len(range(height)[rows]), -1).flatten())
    scores = torch.zeros(1, height, width)
    scores[0, 2, 2] = 1
    found = walk(scores, transition(torch.cat(parts), pair_offsets(radius), height, width, 8.0), 256)[0]
    assert not found[:, 5:].any()
    assert (found[:, :5] > 0).all()


@pytest.mark.parametrize(("height", "width"), [(56, 56), (47, 63)])
def test_with_cropped_pairs_ten_cells_never_mix(height: int, width: int) -> None:
    """As in the first public code: four at the upper left, three at each of the lower corners."""
    generator = torch.Generator().manual_seed(7)
    affinities = 0.5 + torch.rand(count(height, width, 5, 5), generator=generator) / 2
    scores = torch.rand(2, height, width, generator=generator)
    matrix = transition(affinities, pair_offsets(5), height, width, 1, crop=5)
    after = walk(scores, matrix, 256)
    stay = [(y, x) for y, x in ((after == scores).all(0)).nonzero().tolist()]
    corners = [(y < 5, x < 5) for y, x in stay]
    assert len(stay) == 10
    assert [corners.count(corner) for corner in ((True, True), (False, True), (False, False))] == [4, 3, 3]
    full = transition(0.5 + made_up(height, width, 5, 7) / 2, pair_offsets(5), height, width, 1)
    assert not (walk(scores, full, 256) == scores).all(0).any()


def test_a_wrong_number_of_affinities_is_refused() -> None:
    with pytest.raises(DataError, match=f"there are 5 affinities, but must be {count(4, 4, 2)}"):
        transition(torch.ones(5), pair_offsets(2), 4, 4, 8.0)


def test_pooling_counts_missing_pixels_as_nothing_and_upsampling_crops() -> None:
    scores = torch.ones(2, 10, 17)
    small = pooled(scores, 8, (2, 3))
    assert small.shape == (2, 2, 3)
    assert small[0].tolist() == [[1, 1, 1 / 8], [0.25, 0.25, 0.25 / 8]]
    assert upsampled(small, 8, (10, 17)).shape == (2, 10, 17)
    grown = upsampled(torch.full((1, 2, 3), 0.3), 8, (10, 17))
    torch.testing.assert_close(grown, torch.full_like(grown, 0.3))
