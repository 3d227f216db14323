"""Search variables: what a study may draw a value from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from wsss.errors import nearest

Scalar = bool | int | float | str
KINDS = ("choice", "uniform", "loguniform", "randint")


@dataclass(frozen=True)
class Distribution:
    """`choice` of `values`; or a range [low, high] in `values`: `uniform` and `loguniform` give
    floats, `randint` whole numbers with both ends."""

    kind: Literal["choice", "uniform", "loguniform", "randint"]
    values: tuple[Scalar, ...]

    def draw(self, rng: np.random.Generator) -> Scalar:
        """Return one value."""
        if self.kind == "choice":
            return self.values[int(rng.integers(len(self.values)))]
        low, high = (float(value) for value in self.values)
        if self.kind == "uniform":
            return float(rng.uniform(low, high))
        if self.kind == "loguniform":
            return float(math.exp(rng.uniform(math.log(low), math.log(high))))
        return int(rng.integers(int(low), int(high) + 1))

    def grid(self) -> tuple[Scalar, ...]:
        """Return all values of a `choice` or `randint`; an interval has no grid."""
        if self.kind == "randint":
            return tuple(range(int(self.values[0]), int(self.values[1]) + 1))
        return self.values

    @property
    def countable(self) -> bool:
        return self.kind in ("choice", "randint")

    def to_raw(self) -> dict[str, list[Scalar]]:
        return {self.kind: list(self.values)}


def parse_distribution(raw: Any) -> tuple[Distribution | None, str, str]:
    """Return (distribution, message, hint); the message is empty when it is well formed."""
    if not isinstance(raw, Mapping) or len(raw) != 1:
        return None, "must be one of {choice: […]}, {uniform: [low, high]}, {loguniform: …}, {randint: …}", ""
    kind, values = next(iter(raw.items()))
    if kind not in KINDS:
        return None, f"has the unknown kind {kind!r}", nearest(str(kind), KINDS)
    if not isinstance(values, list) or not values:
        return None, f"`{kind}` is {values!r}, but must be a list", ""
    if kind == "choice":
        if not all(isinstance(value, bool | int | float | str) for value in values):
            return None, "`choice` must list numbers, words or true/false", ""
        if len(set(map(repr, values))) < len(values):
            return None, f"`choice` is {values!r}, which names a value twice", ""
        return Distribution("choice", tuple(values)), "", ""
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if len(values) != 2 or not numbers or not values[0] < values[1]:
        return None, f"`{kind}` is {values!r}, but must be [low, high] with low < high", ""
    if kind == "loguniform" and values[0] <= 0:
        return None, f"`loguniform` is {values!r}, but its low end must be above 0", ""
    if kind == "randint" and not all(isinstance(value, int) for value in values):
        return None, f"`randint` is {values!r}, but must have whole numbers", ""
    return Distribution(kind, tuple(values)), "", ""
