"""Pickles of other programs are read without being run, tensors too."""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
from collections import OrderedDict
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign_made_up import QUARTER, SIZE, Calls, maps, pickled, refused, save

from wsss.masks.foreign import read_cams


def payloads(marker: Path) -> dict[str, object]:
    call = Calls(os.system, f"touch {marker}")
    evaluated = Calls(eval, f"open({str(marker)!r}, 'w')")
    return {
        "key": {call: 1},
        "value": {3: call},
        "beside maps": {3: maps(1)[0], "x": [(evaluated,)]},
        "argument": {3: Calls(np.dtype, evaluated)},
        "state": {3: Calls(np.ndarray, (0,), state=(1, (0,), evaluated, False, b""))},
        "object array": {3: np.array([evaluated], dtype=object)},
    }


@pytest.mark.parametrize("where", [*payloads(Path())])
@pytest.mark.parametrize("protocol", [0, 4])
def test_a_pickle_never_runs_code(tmp_path: Path, where: str, protocol: int) -> None:
    marker = tmp_path / "ran"
    body = pickle.dumps(np.array(payloads(marker)[where], dtype=object), protocol)
    message = refused(pickled(tmp_path / "x.npy", body), "can't be read safely", "save plain ints and numpy")
    assert f"{os.name}.system can't" in message or "eval can't be read safely" in message
    assert not marker.exists()
    with contextlib.suppress(TypeError):
        pickle.loads(body)
    assert marker.exists()  # so the payload works


@pytest.mark.parametrize(
    "body",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"(S'true'\nios\nsystem\n.",
        b"cnumpy.core.multiarray\n_reconstruct.__globals__\n.",
        b"\x80\x04\x8c\x05numpy\x8c\x0ftesting._exec\x93.",
        b"cnumpy\nload\n(S'other.npy'\ntR.",
        b"cbuiltins\ngetattr\n.",
        b"\x80\x02\x82\x01.",
        b"Pname\n.",
    ],
)
def test_other_ways_to_name_things_are_closed(tmp_path: Path, body: bytes) -> None:
    refused(pickled(tmp_path / "x.npy", body), "can't be read")


def test_false_states_of_numpy_objects_are_refused(tmp_path: Path) -> None:
    # Without its flags, an array of objects takes the bytes as pointers: numpy would end the process.
    address = Calls(np.dtype, "O8", False, True, state=(3, "|", None, None, None, -1, -1, 0))
    fields = Calls(
        np.dtype, "V8", False, True, state=(3, "|", None, ("f",), {"f": (np.dtype("O"), 0)}, 8, 1, 0)
    )
    rebuild = np.zeros(0).__reduce__()[0]
    for dtype in (address, fields):
        array = Calls(rebuild, np.ndarray, (0,), b"b", state=(1, (1,), dtype, False, b"A" * 8))
        top = refused(pickled(tmp_path / "x.npy", pickle.dumps(array)))
        assert "can't be read" in top or "dict of maps" in top
        refused(save(tmp_path / "x.npy", {3: array}))


@pytest.mark.parametrize(
    "body",
    [
        b"\x80\x04K\x01r" + struct.pack("<I", 2**31 - 1) + b".",  # room for two thousand million objects
        b"\x80\x04\x96" + struct.pack("<Q", 2**62) + b".",
        b"\x80\x04})" + b"\x85" * 10**6 + b"K\x01s.",  # a tuple in a tuple in …, to be hashed
        b"\x80\x04" + b"}K\x03" * 5000 + b"N" + b"s" * 5000 + b".",
        b"\x80\x04})" + b"\x85" * 19_000 + b"K\x01s.",
    ],
    ids=["memo", "bytes", "hash", "depth", "name"],
)
def test_small_files_that_ask_for_much_are_refused(tmp_path: Path, body: bytes) -> None:
    refused(pickled(tmp_path / "x.npy", body))


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("names", [("keys", "cam"), ("keys", "cam", "high_res")])
def test_irns_own_files_hold_tensors(tmp_path: Path, protocol: int, names: tuple[str, ...]) -> None:
    """`step/make_cam.py` saves keys and strided maps as tensors, full maps as an array."""
    theirs = {"keys": torch.tensor([3, 14]), "cam": torch.from_numpy(maps(2, QUARTER)), "high_res": maps(2)}
    plain = {name: np.asarray(value) for name, value in theirs.items() if name in names}
    body = pickle.dumps(np.array({name: theirs[name] for name in names}, dtype=object), protocol)
    found, keys = read_cams(pickled(tmp_path / "x.npy", body), 20, SIZE, [3, 14])
    expected, _ = read_cams(save(tmp_path / "y.npy", plain), 20, SIZE, [3, 14])
    assert keys.tolist() == [3, 14]
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("change", [lambda t: t, lambda t: t.T.contiguous().T, lambda t: torch.stack([t, t])[1],
                                    lambda t: t.clone().requires_grad_(), lambda t: t.double()])  # fmt: skip
def test_tensors_show_the_part_of_their_storage_that_they_are(tmp_path: Path, change: Any) -> None:
    tensor = change(torch.from_numpy(maps(1)[0]))
    found, _ = read_cams(save(tmp_path / "x.npy", {torch.tensor([3]): tensor}), 20, SIZE, [3])
    expected, _ = read_cams(save(tmp_path / "y.npy", {3: maps(1)[0]}), 20, SIZE, [3])
    assert np.array_equal(found, expected)


REBUILD, FROM_BYTES = torch._utils._rebuild_tensor_v2, torch.storage._load_from_bytes


def stored(values: torch.Tensor) -> Calls:
    return Calls(FROM_BYTES, values.storage().__reduce__()[1][0])


@pytest.mark.filterwarnings("ignore:TypedStorage")
@pytest.mark.parametrize(
    ("start", "shape", "strides"),
    [(0, (7, 19), (18, 1)), (120, (126,), (1,)), (0, (2, 2), (10**6, 1)), (-1, (2,), (1,)), (0, (2,), (-1,)),
     (0, (2, 2), (1,)), (0, (10**9, 10**9), (0, 0))],
)  # fmt: skip
def test_tensors_that_reach_out_of_their_storage_are_refused(
    tmp_path: Path, start: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    whole = stored(torch.zeros(126))
    tensor = Calls(REBUILD, whole, start, shape, strides, False, Calls(OrderedDict))
    refused(save(tmp_path / "x.npy", {3: tensor}))


@pytest.mark.filterwarnings("ignore:TypedStorage")
@pytest.mark.parametrize("strides", [(0, 0), (1, 0), (0, 1)])
def test_a_number_shown_again_and_again_is_refused_before_any_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strides: tuple[int, int]
) -> None:
    """A file of 700 bytes could ask for 25 GB."""
    tensor = Calls(REBUILD, stored(torch.zeros(9)), 0, (9, 14), strides, False, Calls(OrderedDict))
    shown = []
    monkeypatch.setattr(np.lib.stride_tricks, "as_strided", lambda *args: shown.append(args))
    refused(save(tmp_path / "x.npy", {3: tensor}), "a tensor shows 126 numbers", "its storage has 9")
    assert not shown
    huge = Calls(REBUILD, stored(torch.zeros(1)), 0, (80_000, 80_000), (0, 0), False, Calls(OrderedDict))
    path = save(tmp_path / "y.npy", {3: huge})
    assert path.stat().st_size < 1000
    refused(path, "a tensor shows 6400000000 numbers")


def test_a_storage_that_is_a_trap_is_not_sprung(tmp_path: Path) -> None:
    """The bytes of a storage are a file of torch, which can hold a pickle of its own."""
    marker = tmp_path / "ran"
    trap = BytesIO()
    torch.save(Calls(os.system, f"touch {marker}"), trap, _use_new_zipfile_serialization=False)
    tensor = Calls(
        REBUILD, Calls(FROM_BYTES, trap.getvalue()), 0, (7, 18), (18, 1), False, Calls(OrderedDict)
    )
    refused(save(tmp_path / "x.npy", {3: tensor}), "can't be read")
    assert not marker.exists()
    torch.load(BytesIO(trap.getvalue()), weights_only=False)
    assert marker.exists()  # so the trap works


def test_other_objects_of_torch_are_refused_with_the_way_out(tmp_path: Path) -> None:
    content = {3: torch.nn.Parameter(torch.from_numpy(maps(1)[0]))}
    words = ["torch._utils._rebuild_parameter can't be read safely", "save plain ints and numpy arrays"]
    refused(save(tmp_path / "x.npy", content), *words)
