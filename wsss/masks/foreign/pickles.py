"""Pickled arrays read without running their pickle.

A pickle is a program: its writer can make its reader do anything. This reader never calls what a pickle
names, nor hands it to numpy, which follows pointers that a false state gives it. It records each call that
would make an array, a number or a tensor, checks the arguments, and makes the value from plain bytes.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
import warnings
from typing import Any

import numpy as np
import numpy.lib.format as npy
import numpy.typing as npt

REBUILT = re.compile(
    r"numpy\.(ndarray|dtype|_?core\.(multiarray\.(_reconstruct|scalar)|numeric\._frombuffer))"
    r"|_codecs\.encode|__builtin__\.bytes"
    r"|torch\.(_utils\._rebuild_tensor_v2|storage\._load_from_bytes)|collections\.OrderedDict"
)
MOST_STEPS = 20_000
"""Most steps of a pickle: the maps of 254 classes take about 11,000."""


def read_pickled(file: io.BytesIO) -> Any:
    """Return the object that `np.save` pickled, a dict in all that is read here, from a whole `.npy` file.

    Arrays and numbers of numpy and tensors of torch, which come as arrays, are put together here from the
    bytes that the pickle holds. Raises `ValueError` or `pickle.UnpicklingError` for everything else that a
    pickle can ask for, and the errors of numpy and torch for damaged bytes.
    """
    header = npy.read_array_header_1_0 if npy.read_magic(file) == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = header(file)
    if dtype.kind != "O":
        raise ValueError(f"it holds {dtype}{list(shape)}, but must hold a dict of maps")
    body = file.read()
    for step, (code, argument, _) in enumerate(pickletools.genops(body)):
        # Memory is taken for all places up to a PUT's, and deep nesting overflows the stack of hash().
        if step > MOST_STEPS or ("PUT" in code.name and int(argument or 0) > MOST_STEPS):
            raise ValueError(f"it takes more than {MOST_STEPS} steps, but maps take fewer")
    saved = _rebuilt(_Unpickler(io.BytesIO(body)).load())
    is_dict = isinstance(saved, dict)
    return {_key(_rebuilt(key)): _rebuilt(value) for key, value in saved.items()} if is_dict else saved


def _key(value: Any) -> Any:
    """Return a number instead of an array of one: tensors as keys are a slip of a known fork."""
    return value.item() if isinstance(value, np.ndarray) and value.size == 1 else value


class _Unpickler(pickle.Unpickler):
    """Reads plain values, records calls that would make arrays, numbers and tensors, and refuses all else."""

    def find_class(self, module: str, name: str) -> Any:
        if REBUILT.fullmatch(f"{module}.{name}"):
            return _Call(name)
        advice = "save plain ints and numpy arrays (`key.item()`, `tensor.detach().cpu().numpy()`)"
        raise pickle.UnpicklingError(f"{module}.{name} can't be read safely; {advice}")


class _Call:
    """A call that a pickle asks for, to be checked: numpy follows any pointer that a false state gives it."""

    def __init__(self, name: str, *args: Any) -> None:
        self.name, self.args, self.state = name, args, ()

    def __call__(self, *args: Any) -> _Call:
        return _Call(self.name, *args)

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _rebuilt(value: Any) -> Any:
    """Return the result of a call: bytes, a dtype, a number, or an array (not the objects in it)."""
    if not isinstance(value, _Call):
        return value
    match value.name, value.args, value.state:
        case "bytes", (), _:
            return b""
        case "encode", (str(text), _), _:  # how protocol 2 writes bytes
            return text.encode("latin1")
        case "dtype", (str(name), *_), (_, order, *_) if re.fullmatch(r"[biuf]\d+|O\d", name):
            return np.dtype(name).newbyteorder(order)
        case "scalar", (dtype, content), _:
            shape, order = (), "C"
        case "_frombuffer", (content, dtype, shape, "C" | "F" as order, *_), _:
            pass
        case "_reconstruct", _, (_, shape, dtype, is_fortran, content):
            order = "F" if is_fortran else "C"
        case "_rebuild_tensor_v2", (storage, int(start), tuple(shape), tuple(strides), bool(_), *_), ():
            return _tensor(_storage(_rebuilt(storage.args[0])), start, shape, strides)
        case _:
            raise ValueError(f"{value.name} isn't called as numpy calls it")
    dtype, content = _rebuilt(dtype), _rebuilt(content)
    flat = np.fromiter(content, object) if dtype == "O" else np.frombuffer(content, dtype)
    return flat.reshape(shape, order=order)[()]


def _storage(content: bytes) -> npt.NDArray[Any]:
    """Return all numbers of a tensor's storage, which torch writes as a file of its own into the pickle."""
    import torch  # few files need it

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="TypedStorage is deprecated")
        stored = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        if not isinstance(stored, torch.storage.TypedStorage):
            raise ValueError(f"a tensor's storage is {type(stored).__name__}")
        numbers: npt.NDArray[Any] = torch.tensor([], dtype=stored.dtype).set_(stored._untyped_storage).numpy()
    return numbers


def _tensor(
    numbers: npt.NDArray[Any], start: int, shape: tuple[Any, ...], strides: tuple[Any, ...]
) -> npt.NDArray[Any]:
    """Return a copy of the part of a storage that a tensor shows; nothing outside of it is read."""
    whole = all(isinstance(number, int) and number >= 0 for number in (start, *shape, *strides))
    if not whole or len(shape) != len(strides):
        raise ValueError(f"a tensor has the shape {shape} with strides {strides}")
    last = start + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
    if 0 in shape:
        return np.zeros(shape, numbers.dtype)
    # A stride of 0 shows a number again and again: a copy would take memory that the file never did.
    if max(last + 1, math.prod(shape)) > len(numbers):
        shown = f"a tensor shows {math.prod(shape)} numbers up to number {last}"
        raise ValueError(f"{shown}, but its storage has {len(numbers)}")
    size = numbers.dtype.itemsize
    view = np.lib.stride_tricks.as_strided(numbers[start:], shape, [stride * size for stride in strides])
    return view.copy()
