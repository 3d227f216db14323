"""Files as other programs write them, and the way they are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wsss.errors import DataError
from wsss.masks.foreign import read_cams

SIZE = (9, 14)
QUARTER = (3, 4)
DICT_HEADER = (
    b"\x93NUMPY\x01\x00\x46\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': ()}".ljust(69) + b"\n"
)


def maps(count: int, size: tuple[int, int] = SIZE, highest: float = 1.0) -> np.ndarray:
    values = np.random.default_rng(count).uniform(0, 1, (count, *size)).astype(np.float32)
    return values * highest / values.max(axis=(1, 2), keepdims=True)


def save(path: Path, content: object) -> Path:
    np.save(path, content)
    return path


def pickled(path: Path, body: bytes) -> Path:
    """Write what `np.save` would have, had it pickled an object to `body`."""
    path.write_bytes(DICT_HEADER + body)
    return path


class Calls:
    """Pickles to a call of anything, and a state for what it returns."""

    def __init__(self, function: Any, *args: Any, state: Any = None) -> None:
        self.parts = (function, args) if state is None else (function, args, state)

    def __reduce__(self) -> Any:
        return self.parts


def refused(path: Path, *words: str, classes: int = 20, size: tuple[int, int] = SIZE) -> str:
    with pytest.raises(DataError) as caught:
        read_cams(path, classes, size, [3])
    assert str(path) in str(caught.value)
    for word in words:
        assert word in str(caught.value)
    return str(caught.value)
