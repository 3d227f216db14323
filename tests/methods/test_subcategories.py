"""Clusters of a class as labels, against hand-worked examples."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components

from wsss.methods.subcategories import Clustering, Subcategories, discover_class, finch, join, kmeans, unit


def discover(features: np.ndarray, labels: np.ndarray, how: Clustering) -> Subcategories:
    """The sub-categories of every class."""
    return join([discover_class(features, labels, number, how) for number in range(labels.shape[1])])


def blobs(count: int, each: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Well-separated clouds of points and which cloud each belongs to."""
    random = np.random.default_rng(seed)
    centres = 20 * random.standard_normal((count, 6))
    owner = np.repeat(np.arange(count), each)
    return (centres[owner] + random.standard_normal((len(owner), 6))).astype(np.float32), owner


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    pairs = set(zip(a.tolist(), b.tolist(), strict=True))
    return len(pairs) == len(set(a.tolist())) == len(set(b.tolist()))


def circle(*degrees: float) -> np.ndarray:
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_kmeans_finds_separate_clouds() -> None:
    points, owner = blobs(4, 12)
    assert same_partition(kmeans(points, 4, seed=0), owner)


@pytest.mark.parametrize(
    ("images", "wanted", "clusters"), [(100, 10, 10), (30, 10, 6), (9, 10, 1), (4, 3, 1), (0, 3, 0)]
)
def test_classes_with_few_images_get_fewer_clusters(images: int, wanted: int, clusters: int) -> None:
    points = np.random.default_rng(0).standard_normal((images, 3)).astype(np.float32)
    assert len(np.unique(kmeans(points, wanted, seed=0))) == clusters


def test_finch_on_a_circle_worked_out_by_hand() -> None:
    points = circle(0, 4, 10, 50, 53, 57, 120, 122, 200, 203, 207, 260)
    expected = np.array([0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 3, 3])
    assert same_partition(finch(points, level=0), expected)


def first_partition(points: np.ndarray) -> np.ndarray:
    """FINCH's finest clusters from its definition: connected components of "is the nearest of"."""
    near = unit(points) @ unit(points).T
    np.fill_diagonal(near, -np.inf)
    nearest = near.argmax(1)
    links = np.zeros(near.shape, bool)
    links[np.arange(len(points)), nearest] = True
    return np.asarray(connected_components(links, directed=False)[1])


@pytest.mark.parametrize("seed", range(10))
def test_finchs_finest_clusters_are_those_of_its_definition(seed: int) -> None:
    points = np.random.default_rng(seed).standard_normal((40 + seed, 4)).astype(np.float32)
    found = finch(points, level=0)
    assert same_partition(found, first_partition(points))
    near = unit(points) @ unit(points).T
    np.fill_diagonal(near, -np.inf)
    nearest = near.argmax(1)
    mutual = (nearest[nearest] == np.arange(len(points))).sum() // 2
    assert found.max() + 1 == mutual, "one cluster for every pair that are nearest to each other"


@pytest.mark.parametrize(
    ("degrees", "levels"),
    [
        ((0, 1, 10, 11, 12.5, 30, 31), ([0, 0, 1, 1, 1, 2, 2],)),
        ((0, 1, 5, 6, 100, 101, 105, 106), ([0, 0, 1, 1, 2, 2, 3, 3], [0, 0, 0, 0, 1, 1, 1, 1])),
    ],
)
def test_finchs_levels_worked_out_by_hand(degrees: tuple[float, ...], levels: tuple[list[int], ...]) -> None:
    """Points on an arc are as near to each other as on a line. One cluster of all is no level."""
    points = circle(*degrees)
    for number, expected in enumerate(levels):
        assert same_partition(finch(points, level=number), np.array(expected))
    assert same_partition(finch(points), np.array(levels[-1]))


def test_finch_does_not_depend_on_the_order_of_points() -> None:
    points, _ = blobs(5, 8)
    order = np.random.default_rng(1).permutation(len(points))
    assert same_partition(finch(points, level=0)[order], finch(points[order], level=0))


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_finch_of_very_few_points_is_one_cluster(count: int) -> None:
    assert finch(circle(*range(0, 90 * count, 90))[:count]).tolist() == [0] * count


def test_finchs_finest_clusters_have_at_least_two_points() -> None:
    random = np.random.default_rng(0)
    for seed in range(10):
        points = random.standard_normal((20 + seed, 5)).astype(np.float32)
        assert np.bincount(finch(points, level=0)).min() >= 2


def test_finchs_levels_only_merge() -> None:
    points = np.random.default_rng(3).standard_normal((200, 4)).astype(np.float32)
    fine, coarse = finch(points, 0), finch(points)
    assert fine.max() > coarse.max()
    assert len(set(zip(fine.tolist(), coarse.tolist(), strict=True))) == fine.max() + 1
    assert np.array_equal(finch(points, level=99), coarse)


def data() -> tuple[np.ndarray, np.ndarray]:
    features, owner = blobs(4, 10)
    labels = np.zeros((40, 3), np.uint8)
    labels[owner < 2, 0] = 1  # class 0: two clouds
    labels[owner >= 1, 1] = 1  # class 1: three clouds, one of them shared with class 0
    return features, labels  # class 2: nothing


def found(**changes: object) -> Subcategories:
    return discover(*data(), Clustering(**{"clusters": 3, **changes}))  # type: ignore[arg-type]


@pytest.mark.parametrize("algorithm", ["kmeans", "finch"])
@pytest.mark.parametrize("control", ["none", "random"])
def test_the_sub_labels_of_a_class_sum_to_its_label(algorithm: str, control: str) -> None:
    _, labels = data()
    result = found(algorithm=algorithm, control=control)
    for number in range(3):
        assert np.array_equal(result.labels[:, result.parent == number].sum(1), labels[:, number])
    assert set(result.parent.tolist()) == {0, 1, 2}
    assert (np.diff(result.parent) >= 0).all()


def test_one_cluster_a_class_is_the_classes_themselves() -> None:
    _, labels = data()
    result = found(clusters=1)
    assert np.array_equal(result.labels, labels)
    assert result.parent.tolist() == [0, 1, 2]


def test_clouds_of_a_class_become_its_sub_categories() -> None:
    result = found()
    columns = result.labels[:, result.parent == 1]
    assert same_partition(columns[10:].argmax(1), np.repeat([1, 2, 3], 10))


def test_every_image_has_the_label_of_its_own_cloud() -> None:
    """Clouds of different sizes, in no order, so that no other assignment looks the same."""
    points, _ = blobs(3, 24)
    owner = np.repeat([0, 1, 2], 24)
    keep = np.r_[0:5, 24:36, 48:72]
    keep = keep[np.random.default_rng(2).permutation(len(keep))]
    features, owner = points[keep], owner[keep]
    labels = np.ones((len(keep), 1), np.uint8)
    labels[::7] = 0
    result = discover(features, labels, Clustering(clusters=3))
    shown = labels[:, 0] == 1
    assert not result.labels[~shown].any()
    assert same_partition(result.labels[shown].argmax(1), owner[shown])
    # The teacher finds each image nearest to the cluster that it is in.
    assert np.array_equal(result.similarity[shown].argmax(1), result.labels[shown].argmax(1))


def test_similarity_is_the_cosine_to_the_clusters_mean() -> None:
    features, _ = data()
    result = found()
    for number in range(len(result.parent)):
        members = result.labels[:, number] == 1
        if not members.any():
            assert (result.similarity[:, number] == 0).all()
            continue
        mean = features[members].mean(0)
        expected = features @ mean / (np.linalg.norm(features, axis=1) * np.linalg.norm(mean))
        np.testing.assert_allclose(result.similarity[:, number], expected, rtol=1e-4, atol=1e-5)


def test_the_random_control_keeps_sizes_and_nothing_else() -> None:
    real, control = found(), found(control="random")
    assert real.labels.sum(0).tolist() == control.labels.sum(0).tolist()
    assert not np.array_equal(real.labels, control.labels)
    assert np.array_equal(control.labels, found(control="random").labels), "of the same seed"
    assert not np.array_equal(control.labels, found(control="random", seed=1).labels)


def test_normalising_looks_at_directions_only() -> None:
    features, labels = data()
    scaled = features * np.random.default_rng(0).uniform(0.1, 10, (len(features), 1)).astype(np.float32)
    how = Clustering(clusters=3, normalise=True)
    a, b = discover(features, labels, how), discover(scaled, labels, how)
    assert np.array_equal(a.labels, b.labels)
    np.testing.assert_allclose(np.linalg.norm(unit(scaled), axis=1), 1, rtol=1e-5)
