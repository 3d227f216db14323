"""Which configurations a sweep tries: drawn up front, in file order, from the study's seed alone.

The same list comes out locally, on a cluster and after a resume, and asking for more samples adds
to the end of it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np

from wsss.config import Distribution
from wsss.config.search import Scalar

Values = dict[str, Scalar]


def sample_arm(
    search: Mapping[str, Distribution], *, searcher: str, samples: int | None, seed: int, name: str
) -> list[Values]:
    """Return the configurations of one arm: variable → value in each. Without search variables there is one.

    Args:
        search: the arm's search variables.
        searcher: `grid` takes the product of all choices, the last variable changing fastest; `random` draws
            variable by variable.
        samples: how many are wanted at most; None for the whole product.
        seed: the study's.
        name: what keeps arms of one study apart.
    """
    if not search:
        return [{}]
    if searcher == "grid" or samples is None:
        whole = math.prod(distribution.size for distribution in search.values())
        return [_grid_point(search, number) for number in range(min(whole, samples or whole))]
    digest = hashlib.sha256(name.encode()).digest()
    rng = np.random.default_rng([seed, int.from_bytes(digest[:8], "big")])
    return [{key: distribution.draw(rng) for key, distribution in search.items()} for _ in range(samples)]


def _grid_point(search: Mapping[str, Distribution], number: int) -> Values:
    """Return a configuration by its number in the product of all choices, without making the others."""
    point: Values = {}
    for key in reversed(list(search)):
        number, place = divmod(number, search[key].size)
        point[key] = search[key].at(place)
    return {key: point[key] for key in search}


def best_configurations(scores: Mapping[int, Sequence[float]], keep: int) -> list[int]:
    """Return the `keep` configurations with the highest mean score, best first.

    `scores` maps a configuration's number to its scores, one a seed. Ties go to the lower number.
    """
    mean = {number: float(np.mean(values)) for number, values in scores.items() if values}
    return sorted(mean, key=lambda number: (-mean[number], number))[:keep]
