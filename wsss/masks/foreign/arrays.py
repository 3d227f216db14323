"""Named arrays of a file: `.npy`, `.npz`, `.pt`; bounded in size, and nothing in them is run."""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.lib.format as npy
import numpy.typing as npt

from wsss.data.pictures.opening import read_bytes
from wsss.errors import DataError, Problem
from wsss.masks.foreign.pickles import MOST_STEPS, read_pickled

Array = npt.NDArray[Any]
LARGEST_HEADER = 2**16
MOST_ARRAYS = 16
"""Bytes before an array's numbers, and arrays in a file, at most: more are a trap."""
LEAST_LIMIT = 2**28
"""Bytes that any file may have: some hold attention beside their maps."""
PER_FILE = 4
"""Maps are there in several sizes and types, in files of up to this many times the largest of them."""


def read_arrays(path: Path, most: int, what: str) -> Any:
    """Return what a file holds: a mapping of names or numbers to arrays, or one array.

    Those of a `.npz` are read when they are asked for. Raises `DataError` for a file that is missing or too
    large, `ValueError` and the errors of numpy, zipfile, pickle and torch for one that can't be read safely.

    Args:
        path: the file.
        most: bytes that one array may have.
        what: takes so many bytes, for messages: "20 maps of 9 × 14 pixels".
    """
    limit = max(LEAST_LIMIT, PER_FILE * most)
    content = read_bytes(path)
    if len(content) > limit:
        raise _refused(path, f"has {len(content):,} bytes, but {what} take at most {limit:,}")
    if path.suffix == ".npz":
        return _Zipped(content, most, what) or np.zeros(0)  # no arrays at all aren't meant
    if path.suffix == ".npy":
        file = io.BytesIO(content)
        return read_pickled(file) if _header(file)[2].kind == "O" else _plain(content)
    return _torch(content, most, what)


class _Zipped(Mapping[str, Array]):
    """The arrays of a `.npz`, each read and checked when it is asked for."""

    def __init__(self, content: bytes, most: int, what: str) -> None:
        self._archive = zipfile.ZipFile(io.BytesIO(content))
        self._most, self._what = most, what
        names = self._archive.namelist()
        if len(names) > MOST_ARRAYS:
            raise ValueError(f"it holds {len(names)} arrays, but may hold {MOST_ARRAYS}")
        self._names = {name.removesuffix(".npy"): name for name in names}

    def __getitem__(self, name: str) -> Array:
        most = self._most + LARGEST_HEADER
        with self._archive.open(self._names[name]) as member:
            content = member.read(most + 1)  # the size that the archive states may be a lie
        if len(content) > most:
            found = self._names[name]
            raise ValueError(f"{found} holds more than {most} bytes, all that {self._what} can take")
        return _plain(content)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _header(file: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, order and type that a `.npy` states; the file is then at its beginning again."""
    read = npy.read_array_header_1_0 if npy.read_magic(file) == (1, 0) else npy.read_array_header_2_0
    shape, is_fortran, dtype = read(file)
    end = file.tell()
    file.seek(0)
    return (*shape, end), is_fortran, dtype


def _plain(content: bytes) -> Array:
    """Return the array of a `.npy`; a shape that its bytes don't fill is refused before memory is taken."""
    (*shape, start), is_fortran, dtype = _header(io.BytesIO(content))
    if dtype.hasobject:
        raise ValueError("Object arrays can't be read safely")
    count = int(np.prod(shape, dtype=object))
    if count * dtype.itemsize != len(content) - start:
        raise ValueError(f"{dtype}{shape} doesn't fit {len(content) - start} bytes")
    return np.frombuffer(content, dtype, count, start).reshape(shape, order="F" if is_fortran else "C")


def _torch(content: bytes, most: int, what: str) -> Any:
    """Return a tensor or a dict of tensors, as arrays, of a file of `torch.save`."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise ValueError("it is no file of torch 1.6 or newer; save it again, or as .npz")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > len(content) or any(
            member.compress_type != zipfile.ZIP_STORED for member in members
        ):  # torch compresses nothing
            raise ValueError("its archive is compressed, which no file of torch is")
        for member in members:
            if member.filename.endswith(".pkl"):
                _check_steps(archive.read(member))
    import torch  # few files need it

    try:
        found = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except Exception as error:
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        advice = "save a dict of tensors: `torch.save({'keys': keys, 'maps': maps}, path)`"
        raise ValueError(f"torch can't load it safely; {advice} ({reason[0][:200]})") from error
    if isinstance(found, Mapping):
        if len(found) > MOST_ARRAYS and not all(isinstance(key, int) for key in found):
            raise ValueError(f"it holds {len(found)} arrays, but may hold {MOST_ARRAYS}")
        return {key: _array(value, most, what) for key, value in found.items()}
    return _array(found, most, what)


def _check_steps(body: bytes) -> None:
    for step, _ in enumerate(pickletools.genops(body)):
        if step > MOST_STEPS:
            raise ValueError(f"it takes more than {MOST_STEPS} steps, but maps take fewer")


def _array(value: Any, most: int, what: str) -> Any:
    """Return a tensor as an array; anything else as it is, for messages."""
    import torch

    if not isinstance(value, torch.Tensor):
        return value
    if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
        raise ValueError(f"a tensor is {value.layout} on {value.device}, but must be plain numbers")
    # A stride of 0 shows a number again and again: a copy would take memory that the file never did.
    if value.numel() * value.element_size() > most + LARGEST_HEADER:
        raise ValueError(f"a tensor shows {value.numel():,} numbers, more than {what} have")
    value = value.detach().resolve_conj().resolve_neg()
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()


def _refused(path: Path, message: str) -> DataError:
    return DataError(Problem(str(path), message))
