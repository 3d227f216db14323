"""Sub-categories of a class: clusters of its images, as further labels for the classifier.

Sub-category Exploration: Chang et al., "Weakly-Supervised Semantic Segmentation via Sub-category
Exploration", CVPR 2020 (k-means). FINCH: Sarfraz et al., "Efficient Parameter-free Clustering Using
First Neighbor Relations", CVPR 2019.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

LEAST = 5
"""Images per cluster that a class must have: fewer images make fewer clusters."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Subcategories:
    """`labels` uint8[N, S]: 1 for the cluster of each class an image shows, so that the clusters of a
    class sum to the class's own label. `parent` int64[S]: the class of each sub-category.
    `similarity` float32[N, S]: cosine of an image's features and a cluster's mean.
    """

    labels: npt.NDArray[np.uint8]
    parent: npt.NDArray[np.int64]
    similarity: Floats


@dataclass(frozen=True)
class Clustering:
    """How a class's images are clustered.

    `clusters` is for k-means, at most one per `LEAST` images; `level` for FINCH, counted from the
    finest, None for the coarsest. Control `random` deals the images of a class out anew, to clusters of
    the same sizes: what a method gains with it, it doesn't gain by its clusters.
    """

    algorithm: Literal["kmeans", "finch"] = "kmeans"
    clusters: int = 10
    level: int | None = None
    normalise: bool = False
    control: Literal["none", "random"] = "none"
    seed: int = 0


def discover_class(
    features: Floats, labels: npt.NDArray[np.uint8], number: int, how: Clustering
) -> Subcategories:
    """Return the sub-categories of one class; a class without images has one, which is empty.

    Args:
        features: float32[N, D], one row an image.
        labels: uint8[N, C], 1 for classes present.
        number: the class, in [0, C − 1].
        how: the algorithm and its settings.
    """
    members = np.flatnonzero(labels[:, number])
    points = (unit(features) if how.normalise else features)[members]
    by_kmeans = how.algorithm == "kmeans"
    found = kmeans(points, how.clusters, how.seed) if by_kmeans else finch(points, how.level)
    if how.control == "random":
        found = np.random.default_rng([how.seed, number]).permutation(found)
    count = int(found.max(initial=0)) + 1
    columns = np.zeros((len(labels), count), np.uint8)
    columns[members, found] = 1
    sizes = np.maximum(columns.sum(0), 1)[:, None]
    means = (columns.T.astype(np.float32) @ features) / sizes
    similarity = (unit(features) @ unit(means.astype(np.float32)).T).astype(np.float32)
    return Subcategories(columns, np.full(count, number, np.int64), similarity)


def join(parts: Sequence[Subcategories]) -> Subcategories:
    """Return the sub-categories of several classes, side by side."""
    return Subcategories(
        np.concatenate([part.labels for part in parts], axis=1),
        np.concatenate([part.parent for part in parts]),
        np.concatenate([part.similarity for part in parts], axis=1),
    )


def unit(features: Floats) -> Floats:
    """Return features scaled to length 1; zeros stay zeros."""
    lengths = np.linalg.norm(features, axis=-1, keepdims=True)
    return np.asarray(features / np.maximum(lengths, 1e-12), dtype=np.float32)


def kmeans(points: Floats, clusters: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the cluster of each point, int64[N], numbered without gaps: k-means++, the best of ten starts.

    Args:
        points: float32[N, D].
        clusters: at most so many, and at most one per `LEAST` points.
        seed: of the starts.
    """
    count = max(1, min(clusters, len(points) // LEAST))
    if count == 1:
        return np.zeros(len(points), np.int64)
    from sklearn.cluster import KMeans

    model = KMeans(count, n_init=10, max_iter=300, random_state=seed)
    found: npt.NDArray[np.int64] = np.unique(model.fit_predict(points), return_inverse=True)[1]
    return found.astype(np.int64)


def finch(points: Floats, level: int | None = None) -> npt.NDArray[np.int64]:
    """Return the cluster of each point at a level of FINCH's hierarchy (None: the coarsest).

    Cosine distance. Three points or fewer are one cluster.
    """
    if len(points) <= 3:
        return np.zeros(len(points), np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that an optional package for very large sets isn't there
        from finch import FINCH

    partitions, _, _ = FINCH(points, distance="cosine", verbose=False)
    column = partitions.shape[1] - 1 if level is None else min(level, partitions.shape[1] - 1)
    found: npt.NDArray[np.int64] = np.unique(partitions[:, column], return_inverse=True)[1]
    return found.astype(np.int64)
