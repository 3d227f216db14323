"""Reading MXNet's `.params` files without MXNet: the weights of older networks are published in no other.

The format (little-endian): magic number, a list of arrays, a list of names. Arrays come in three versions,
which differ in their first four bytes.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wsss.errors import ConfigError, Problem

FILE = 0x112
DENSE_V2, DENSE_V1 = 0xF993FAC9, 0xF993FAC8
TYPES = {0: "<f4", 1: "<f8", 2: "<f2", 3: "|u1", 4: "<i4", 5: "|i1", 6: "<i8"}
MOST_AXES = 8


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        if count < 0 or self.at + count > len(self.data):
            raise ValueError(f"it ends after {len(self.data)} bytes, in the middle of something")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, code: str) -> int:
        return int(struct.unpack(f"<{code}", self.take(struct.calcsize(code)))[0])

    def array(self) -> Tensor:
        first = self.number("I")
        if first == DENSE_V2 and self.number("i") != 0:
            raise ValueError("it holds a sparse array")
        wide = first in (DENSE_V2, DENSE_V1)
        axes = self.number("I") if wide else first
        if axes > MOST_AXES:
            raise ValueError(f"it holds an array of {axes} axes")
        shape = [self.number("q" if wide else "I") for _ in range(axes)]
        self.take(8)  # the device it was on
        kind = self.number("i")
        if kind not in TYPES:
            raise ValueError(f"it holds an array of the unknown type {kind}")
        count = int(np.prod(shape, dtype=np.int64)) if axes else 0
        values = np.frombuffer(self.take(count * np.dtype(TYPES[kind]).itemsize), TYPES[kind])
        return torch.from_numpy(values.reshape(shape).copy())


def read_params(path: Path) -> dict[str, Tensor]:
    """Return the arrays of a `.params` file by name ("arg:conv1a_weight"). Raises `ConfigError`."""
    reader = _Reader(path.read_bytes())
    try:
        if reader.number("Q") != FILE:
            raise ValueError("it doesn't begin as one")
        reader.take(8)
        arrays = [reader.array() for _ in range(reader.number("Q"))]
        names = [reader.take(reader.number("Q")).decode() for _ in range(reader.number("Q"))]
        if len(names) != len(arrays):
            raise ValueError(f"it has {len(arrays)} arrays and {len(names)} names")
    except (ValueError, UnicodeDecodeError) as error:
        raise ConfigError(
            Problem(str(path), f"is not a readable MXNet file of parameters: {error}")
        ) from error
    return dict(zip(names, arrays, strict=True))
