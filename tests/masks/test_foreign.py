from __future__ import annotations

import contextlib
import os
import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn.functional import interpolate

from wsss.errors import DataError
from wsss.masks.foreign import foreign_files, read_cams, read_foreign_mask
from wsss.masks.images import write_mask

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


# Layouts


@pytest.mark.parametrize("number", [int, np.int64, np.uint8])
def test_psa_dict(tmp_path: Path, number: Callable[[int], Any]) -> None:
    values = maps(3)
    content = {number(key): cam for key, cam in zip((14, 3, 8), values, strict=True)}
    cams, keys = read_cams(save(tmp_path / "x.npy", content), 20, SIZE, [14, 3])
    assert (cams.dtype, keys.dtype) == (np.float16, np.int64)
    assert keys.tolist() == [3, 14]
    np.testing.assert_array_equal(cams, values[[1, 0]].astype(np.float16))


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_pickles_of_any_age(tmp_path: Path, protocol: int, dtype: str, order: Any) -> None:
    values = maps(2).astype(dtype)
    content = {np.int64(3): np.asarray(values[0], order=order), 5: np.asarray(values[1].T, order=order).T}
    body = pickle.dumps(np.array(content, dtype=object), protocol)
    cams, keys = read_cams(pickled(tmp_path / "x.npy", body), 20, SIZE, [3, 5])
    assert keys.tolist() == [3, 5]
    np.testing.assert_array_equal(cams, values.astype(np.float16))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_maps_whose_axes_were_moved(tmp_path: Path, protocol: int) -> None:
    values = maps(2).transpose(1, 2, 0).copy().transpose(2, 0, 1)
    body = pickle.dumps(np.array({"keys": np.array([3, 5]), "high_res": values}, dtype=object), protocol)
    if b"\x8c\x01K" in body:  # numpy's own order of axes, which `np.save` never writes
        refused(pickled(tmp_path / "x.npy", body), "_frombuffer isn't called as numpy calls it")
        return
    cams, _ = read_cams(pickled(tmp_path / "x.npy", body), 20, SIZE, [3, 5])
    np.testing.assert_array_equal(cams, values.astype(np.float16))


def test_pickles_of_numpy_1(tmp_path: Path) -> None:
    values = maps(1)
    body = pickle.dumps(np.array({3: values[0]}, dtype=object), 3)
    assert b"numpy._core.multiarray" in body
    body = body.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    cams, _ = read_cams(pickled(tmp_path / "x.npy", body), 20, SIZE, [3])
    np.testing.assert_array_equal(cams, values.astype(np.float16))


@pytest.mark.parametrize("keys", [[14, 3], [0, 15, 4]], ids=["keys", "keys with background"])
@pytest.mark.parametrize("name", ["high_res", "hr_cam"])
def test_irn_dict(tmp_path: Path, keys: list[int], name: str) -> None:
    values = maps(2)
    content = {"keys": np.array(keys), "cam": np.zeros((2, *QUARTER), np.float32), name: values}
    cams, found = read_cams(save(tmp_path / "x.npy", content), 20, SIZE, [3, 14])
    assert found.tolist() == [3, 14]
    np.testing.assert_array_equal(cams, values[::-1].astype(np.float16))


def test_irn_dict_of_quarter_size_maps(tmp_path: Path) -> None:
    values = maps(2, QUARTER)
    content = {"keys": np.array([3, 14]), "cam": values}
    cams, keys = read_cams(save(tmp_path / "x.npy", content), 20, SIZE, [3, 14])
    theirs = interpolate(torch.from_numpy(values)[None], SIZE, mode="bilinear", align_corners=False)[0]
    assert keys.tolist() == [3, 14]
    np.testing.assert_allclose(cams, theirs.numpy(), atol=6e-4)


@pytest.mark.parametrize("name", ["cams", "high_res", "cam"])
@pytest.mark.parametrize("keys", [[14, 3], [0, 15, 4]], ids=["keys", "keys with background"])
def test_npz(tmp_path: Path, name: str, keys: list[int]) -> None:
    values = np.full((2, *(QUARTER if name == "cam" else SIZE)), [[[0.25]], [[0.75]]], np.float32)
    np.savez_compressed(tmp_path / "x.npz", keys=np.array(keys), **{name: values})
    cams, found = read_cams(tmp_path / "x.npz", 20, SIZE, [3, 14])
    assert found.tolist() == [3, 14]
    np.testing.assert_array_equal(cams, np.full((2, *SIZE), [[[0.75]], [[0.25]]], np.float16))


def test_only_classes_of_the_labels_have_maps(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npy", {3: maps(1)[0], 7: maps(1)[0]})
    cams, keys = read_cams(path, 20, SIZE, [9, 3, 9])
    assert keys.tolist() == [3, 9]
    np.testing.assert_array_equal(cams[0], maps(1)[0].astype(np.float16))
    assert not cams[1].any()
    cams, keys = read_cams(path, 20, SIZE, [])
    assert cams.shape == (0, *SIZE) and keys.shape == (0,)
    empty: list[object] = [{}, {"keys": np.zeros(0, np.int64), "high_res": np.zeros((0, *SIZE), np.float32)}]
    for number, content in enumerate(empty):
        body = pickle.dumps(np.array(content, dtype=object), 2)
        assert not read_cams(pickled(tmp_path / f"{number}.npy", body), 20, SIZE, [4])[0].any()


def test_maps_are_normalised_only_if_any_exceeds_one(tmp_path: Path) -> None:
    values = maps(2, highest=0.5)
    values[0] *= 2.0018  # 1.0009: rounding, clipped
    cams, _ = read_cams(save(tmp_path / "x.npy", {3: values[0], 5: values[1]}), 20, SIZE, [3, 5])
    np.testing.assert_array_equal(cams, np.minimum(values, 1).astype(np.float16))
    values[0] *= 8
    cams, _ = read_cams(save(tmp_path / "x.npy", {3: values[0], 5: values[1]}), 20, SIZE, [3, 5])
    theirs = values / (values.max(axis=(1, 2), keepdims=True) + 1e-5)
    np.testing.assert_array_equal(cams, theirs.astype(np.float16))


def test_most_classes_that_ids_can_name(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npy", {np.int64(key): np.full((1, 1), 0.5) for key in range(254)})
    assert (read_cams(path, 254, (1, 1), range(254))[0] == 0.5).all()


# What is refused


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({3: maps(1, (9, 15))[0]}, ["map of class 3 is float32[9, 15], but must be float[9, 14]"]),
        ({3: maps(1)}, ["is float32[1, 9, 14], but must be float[9, 14]"]),
        ({3: maps(1)[0].astype(int)}, ["is int64[9, 14]"]),
        ({3: maps(1)[0].astype(object)}, ["is object[9, 14]"]),
        ({3: [0.5]}, ["is of type list"]),
        ({3: np.full(SIZE, np.nan)}, ["map of class 3 holds nan", "finite and at least 0"]),
        ({3: np.full(SIZE, np.inf)}, ["holds inf"]),
        ({3: np.full(SIZE, 1e300)}, ["holds 1e+300"]),
        ({3: np.full(SIZE, -0.5)}, ["holds -0.5"]),
        ({20: maps(1)[0], -1: maps(1)[0]}, ["class 20, but classes must be in [0, 19]", "class -1"]),
        ({10**5000: maps(1)[0]}, ["int too large"]),
        ({"a": maps(1)[0]}, ["holds ['a']", "'keys' and one of high_res"]),
        ({"keys": np.array([3])}, ["holds ['keys'], but"]),
        ({"keys": np.array([[3]]), "high_res": maps(1)}, ["keys is int64[1, 1], but must be int[n]"]),
        ({"keys": np.array([3.0]), "high_res": maps(1)}, ["keys is float64[1]"]),
        ({"keys": [3], "high_res": maps(1)}, ["keys is of type list"]),
        ({"keys": np.array([3]), "high_res": maps(1)[0]}, ["high_res is float32[9, 14], but"]),
        ({"keys": np.array([3, 4, 5]), "high_res": maps(2)}, ["2 maps of the classes [3, 4, 5]"]),
        ({"keys": np.array([3, 3]), "high_res": maps(2)}, ["2 maps of the classes [3, 3]"]),
        ({"keys": np.array([3]), "cam": maps(1)}, ["float32[9, 14], but must be float[3, 4]"]),
        ([1, 2], ["it holds int64[2], but must hold a dict of maps"]),
        (np.array([3, "a"], dtype=object), ["object[2], but must hold a dict of maps"]),
    ],
)
def test_maps_of_other_kinds_are_refused(tmp_path: Path, content: object, words: list[str]) -> None:
    refused(save(tmp_path / "x.npy", content), *words)


def test_npz_without_keys_or_with_objects_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", maps(1))
    refused(tmp_path / "a.npz", "['arr_0']")
    np.savez(tmp_path / "b.npz", keys=np.array([3], dtype=object), cams=maps(1))
    refused(tmp_path / "b.npz", "Object arrays")
    np.savez(tmp_path / "c.npz")
    refused(tmp_path / "c.npz", "dict of maps")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    refused(tmp_path / "x.npy", "missing")
    refused(tmp_path / "x.npz", "missing")


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


# Damage


def examples(kind: str) -> bytes:
    content = BytesIO()
    irn = {"keys": np.array([3, 14]), "cam": maps(2, QUARTER), "high_res": maps(2)}
    if kind == "psa":
        np.save(content, {np.int64(3): maps(2)[0], 14: maps(2)[1]})  # type: ignore[arg-type]
    elif kind == "irn":
        np.save(content, irn)  # type: ignore[arg-type]
    elif kind == "old":
        content.write(DICT_HEADER + pickle.dumps(np.array(irn, dtype=object), 2))
    elif kind == "npz":
        np.savez_compressed(content, **irn)
    else:
        Image.fromarray(np.arange(126, dtype=np.uint8).reshape(SIZE) % 21).save(content, "PNG")
    return content.getvalue()


SUFFIX = {"psa": ".npy", "irn": ".npy", "old": ".npy", "npz": ".npz", "mask": ".png"}
EXAMPLES = {kind: examples(kind) for kind in SUFFIX}


@pytest.mark.parametrize("kind", [*SUFFIX])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_are_read_or_refused(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    content = bytearray(EXAMPLES[kind])
    places = st.integers(0, len(content) - 1)
    # Most bytes are values; those that matter stand at the front and the back.
    places |= st.integers(0, min(500, len(content) - 1)) | st.integers(
        max(0, len(content) - 200), len(content) - 1
    )
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=5)):
        content[place] = value
    path = tmp_path / f"x{SUFFIX[kind]}"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    with contextlib.suppress(DataError):
        if kind == "mask":
            mask = read_foreign_mask(path, 20, SIZE)
            assert mask.dtype == np.uint8 and mask.shape == SIZE and mask.max() <= 20
        else:
            cams, keys = read_cams(path, 20, SIZE, [3, 14])
            assert cams.dtype == np.float16 and cams.shape == (2, *SIZE) and keys.tolist() == [3, 14]
            assert cams.min() >= 0 and cams.max() <= 1


@pytest.mark.parametrize("kind", [*SUFFIX])
def test_a_file_cut_short_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x{SUFFIX[kind]}"
    # The last bytes of a PNG hold no pixels: Pillow reads it without them.
    for length in range(0, len(EXAMPLES[kind]) - 40, 7):
        path.write_bytes(EXAMPLES[kind][:length])
        with pytest.raises(DataError, match=r"x\.np.: can't be read: .|can't be decoded"):
            read_foreign_mask(path, 20, SIZE) if kind == "mask" else read_cams(path, 20, SIZE, [3])


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(EXAMPLES["psa"])
    refused(tmp_path / "x.npz", "not a zip file")
    (tmp_path / "x.npy").write_bytes(EXAMPLES["npz"])
    refused(tmp_path / "x.npy", "magic string")
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("keys.npy", "text")
    refused(tmp_path / "x.npz", "can't be read")


# Folders


@pytest.mark.parametrize(("kind", "ending"), [("cams", ".npy"), ("cams", ".npz"), ("masks", ".png")])
def test_files_are_found_by_id(tmp_path: Path, kind: Any, ending: str) -> None:
    for name in ("2007_000032", "b.c", "other"):
        (tmp_path / f"{name}{ending}").touch()
    found = foreign_files(tmp_path, ["b.c", "2007_000032"], kind)
    assert found == {name: tmp_path / f"{name}{ending}" for name in ("b.c", "2007_000032")}
    assert list(found) == ["b.c", "2007_000032"]


def test_all_files_amiss_are_named_at_once(tmp_path: Path) -> None:
    for name in ("a.npy", "b.npy", "b.npz", "c.png"):
        (tmp_path / name).touch()
    with pytest.raises(DataError) as caught:
        foreign_files(tmp_path, ["a", "b", "c", "../a", "/etc/passwd"], "cams")
    assert [str(problem) for problem in caught.value.problems] == [
        f"{tmp_path}/b.npy: b.npz exists too (move one of them away)",
        f"{tmp_path}/c.npy: file is missing (expected <id>.npy or <id>.npz)",
        f"{tmp_path}: id is '../a', but must be a bare file name",
        f"{tmp_path}: id is '/etc/passwd', but must be a bare file name",
    ]


@pytest.mark.parametrize(
    ("count", "lines", "last"), [(20, 20, "19.png"), (21, 21, "and 1 more"), (99, 21, "and 79 more")]
)
def test_few_of_many_missing_files_are_named(tmp_path: Path, count: int, lines: int, last: str) -> None:
    with pytest.raises(DataError) as caught:
        foreign_files(tmp_path, [str(number) for number in range(count)], "masks")
    assert len(caught.value.problems) == lines
    assert last in str(caught.value.problems[-1])


@pytest.mark.parametrize(("kind", "other", "name"), [("cams", "masks", "a.png"), ("masks", "cams", "a.npy")])
def test_files_of_the_other_kind_are_pointed_out(tmp_path: Path, kind: Any, other: str, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(DataError, match=f"for {other}, say `import: {{{other}: …}}` instead"):
        foreign_files(tmp_path, ["a"], kind)


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: folder can't be listed: No such file or directory"):
        foreign_files(tmp_path / "nowhere", ["a"], "cams")


# Masks


@pytest.mark.parametrize("is_palette", [True, False])
def test_masks(tmp_path: Path, is_palette: bool) -> None:
    mask = np.random.default_rng(0).integers(0, 21, SIZE, dtype=np.uint8)
    if is_palette:
        write_mask(tmp_path / "x.png", mask)
    else:
        Image.fromarray(mask).save(tmp_path / "x.png")
    read = read_foreign_mask(tmp_path / "x.png", 20, SIZE)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, mask)


def grey_png(bits: int) -> bytes:
    """Return a PNG of one grey pixel of level 1."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, bits, 0, 0, 0, 0))
    pixel = zlib.compress(bytes([0, 1 << (8 - bits)]))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixel) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("bits", "classes"), [(1, 254), (2, 254), (4, 20)])
def test_masks_of_few_grey_levels_are_refused(tmp_path: Path, bits: int, classes: int) -> None:
    (tmp_path / "x.png").write_bytes(grey_png(bits))
    with pytest.raises(DataError, match=r"x\.png: .*(8-bit grey PNG|mode is 1)"):
        read_foreign_mask(tmp_path / "x.png", classes, (1, 1))
    (tmp_path / "x.png").write_bytes(grey_png(8))
    assert read_foreign_mask(tmp_path / "x.png", classes, (1, 1)).tolist() == [[1]]


def test_other_masks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.png"

    def message(image: np.ndarray, format: str = "PNG") -> str:
        Image.fromarray(image).save(path, format)
        with pytest.raises(DataError) as caught:
            read_foreign_mask(path, 20, SIZE)
        return str(caught.value)

    grey = np.zeros(SIZE, np.uint8)
    assert f"{path}: mask's mode is RGB" in message(np.zeros((*SIZE, 3), np.uint8))
    assert "mode is I;16" in message(np.zeros(SIZE, np.uint16))
    assert f"{path}: mask is something else, but must be a palette or 8-bit grey PNG" in message(grey, "JPEG")
    assert f"{path}: mask is [14, 9], but must be [9, 14] like its photo" in message(grey.T)
    grey[0, :3] = 21, 255, 20
    text = message(grey)
    assert f"{path}: mask holds the ids 21, 255, but they must be in [0, 20]" in text
    assert "predictions need a label everywhere" in text
    with pytest.raises(DataError, match=r"gone\.png: file is missing"):
        read_foreign_mask(tmp_path / "gone.png", 20, SIZE)
