"""Search variables: what a study may draw a value from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from wsss.errors import nearest, quoted

Scalar = bool | int | float | str
MOST_CHOICES = 1000
"""Values of one `choice`."""
LARGEST = 10**15
"""Ends of ranges lie within it, where whole numbers and floats are the same."""
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

    @property
    def size(self) -> int:
        """How many values a `choice` or `randint` has."""
        if self.kind == "randint":
            return int(self.values[1]) - int(self.values[0]) + 1
        return len(self.values)

    def at(self, number: int) -> Scalar:
        """Return the value with this number, from 0 to below `size`; an interval has none."""
        return int(self.values[0]) + number if self.kind == "randint" else self.values[number]

    @property
    def countable(self) -> bool:
        return self.kind in ("choice", "randint")

    def to_raw(self) -> dict[str, list[Scalar]]:
        return {self.kind: list(self.values)}


def first_values(search: Mapping[str, Distribution]) -> dict[str, Scalar]:
    """Return the first value of every search variable: of a range, its low end."""
    return {name: distribution.values[0] for name, distribution in search.items()}


def parse_distribution(raw: Any) -> tuple[Distribution | None, str, str]:
    """Return (distribution, message, hint); the message is empty when it is well formed."""
    if not isinstance(raw, Mapping) or len(raw) != 1:
        return None, "must be one of {choice: […]}, {uniform: [low, high]}, {loguniform: …}, {randint: …}", ""
    kind, values = next(iter(raw.items()))
    if kind not in KINDS:
        return None, f"has the unknown kind {quoted(kind)}", nearest(kind, KINDS)
    if not isinstance(values, list) or not values:
        return None, f"`{kind}` is {quoted(values)}, but must be a list", ""
    if kind == "choice":
        message = _wrong_choice(values)
        return (None, message, "") if message else (Distribution("choice", tuple(values)), "", "")
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if len(values) != 2 or not numbers or not values[0] < values[1]:
        return None, f"`{kind}` is {quoted(values)}, but must be [low, high] with low < high", ""
    if not all(-LARGEST <= value <= LARGEST for value in values):
        return None, f"`{kind}` is {quoted(values)}, but must lie within ±1e15", ""
    if kind == "loguniform" and values[0] <= 0:
        return None, f"`loguniform` is {quoted(values)}, but its low end must be above 0", ""
    if kind == "randint" and not all(isinstance(value, int) for value in values):
        return None, f"`randint` is {quoted(values)}, but must have whole numbers", ""
    return Distribution(kind, tuple(values)), "", ""


def _wrong_choice(values: list[Any]) -> str:
    if len(values) > MOST_CHOICES:
        return f"`choice` lists {len(values)} values, but may list {MOST_CHOICES}"
    if not all(isinstance(value, bool | int | float | str) for value in values):
        return "`choice` must list numbers, words or true/false"
    if not all(abs(value) < math.inf for value in values if isinstance(value, float)):
        return f"`choice` is {quoted(values)}, but numbers must be finite"
    if len(set(map(repr, values))) < len(values):
        return f"`choice` is {quoted(values)}, which names a value twice"
    return ""
