"""CAMs of other programs: the layouts that are read, and the contents that aren't."""

from __future__ import annotations

import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign_made_up import QUARTER, SIZE, maps, pickled, refused, save
from torch.nn.functional import interpolate

from wsss.errors import DataError
from wsss.masks.foreign import read_cams

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
    cams, keys = read_cams(path, 20, SIZE, [9, 3, 9], missing="zero")
    assert keys.tolist() == [3, 9]
    np.testing.assert_array_equal(cams[0], maps(1)[0].astype(np.float16))
    assert not cams[1].any()
    cams, keys = read_cams(path, 20, SIZE, [])
    assert cams.shape == (0, *SIZE) and keys.shape == (0,)
    empty: list[object] = [{}, {"keys": np.zeros(0, np.int64), "high_res": np.zeros((0, *SIZE), np.float32)}]
    for number, content in enumerate(empty):
        body = pickle.dumps(np.array(content, dtype=object), 2)
        path = pickled(tmp_path / f"{number}.npy", body)
        assert not read_cams(path, 20, SIZE, [4], missing="zero")[0].any()
        with pytest.raises(DataError, match="has no map of 4; it holds none, its labels name 4"):
            read_cams(path, 20, SIZE, [4])


NAMES = ("bird", "cat", "dog", "horse", "sheep")


@pytest.mark.parametrize(
    ("held", "named", "message"),
    [
        ([1, 3], [0, 2], "has no map of 0 (bird), 2 (dog); it holds 1 (cat), 3 (horse), its labels name 0 (bird), 2 (dog) (1-based?"),
        ([0, 1, 3], [0, 2], "has no map of 2 (dog); it holds 0 (bird), 1 (cat), 3 (horse), its labels name 0 (bird), 2 (dog) (1-based?"),
        ([0, 1, 2], [0, 1], "seems to count classes from 1; it holds 0 (bird), 1 (cat), 2 (dog), its labels name 0 (bird), 1 (cat) (1-based?"),
        ([0, 1], [0], "seems to count classes from 1"),
        ([5], [4], "holds class 5, but classes must be in [0, 4], without background; it holds 5, its labels name 4 (sheep) (1-based?"),
        ([0, 1, 2, 3, 4, 5], [2], "holds class 5, but"),
        ([1], [1, 4], "has no map of 4 (sheep); it holds 1 (cat), its labels name 1 (cat), 4 (sheep) (a real gap is a map of zeros"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("layout", ["psa", "irn", "npz"])
def test_other_numbers_of_classes_are_refused_with_both_lists(
    tmp_path: Path, held: list[int], named: list[int], message: str, layout: str
) -> None:
    values = maps(len(held))
    if layout == "psa":
        path = save(tmp_path / "x.npy", dict(zip(held, values, strict=True)))
    elif layout == "irn":
        path = save(tmp_path / "x.npy", {"keys": np.array(held), "high_res": values})
    else:
        path = tmp_path / "x.npz"
        np.savez(path, keys=np.array(held), cams=values)
    with pytest.raises(DataError) as caught:
        read_cams(path, NAMES, SIZE, named)
    assert str(caught.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize("held", [[2, 4], [0, 2, 4], [0, 1, 2, 3, 4], [4, 2, 3]])
def test_what_holds_every_named_class_is_taken(tmp_path: Path, held: list[int]) -> None:
    values = maps(len(held))
    cams, keys = read_cams(
        save(tmp_path / "x.npy", dict(zip(held, values, strict=True))), NAMES, SIZE, [2, 4]
    )
    assert keys.tolist() == [2, 4]
    np.testing.assert_array_equal(cams, values[[held.index(2), held.index(4)]].astype(np.float16))


def test_an_explicit_map_of_zeros_is_no_gap(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npy", {1: maps(1)[0], 4: np.zeros(SIZE, np.float32)})
    cams, _ = read_cams(path, NAMES, SIZE, [1, 4])
    assert cams[0].any() and not cams[1].any()
    assert read_cams(
        save(tmp_path / "x.npy", {0: maps(1)[0], 1: maps(1)[0]}), NAMES, SIZE, [0], missing="zero"
    )


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
        ({"a": maps(1)[0]}, ["holds ['a']", "'high_res' with 'keys'", "`maps: NAME`"]),
        ({"keys": np.array([3])}, ["holds ['keys'], but no 'high_res' that goes with 'keys'"]),
        ({"key": np.array([3]), "high_res": maps(1)}, ["no 'keys'", "did you mean 'key'?"]),
        ({"keys": np.array([[3]]), "high_res": maps(1)}, ["keys is int64[1, 1], but must be int[n]"]),
        ({"keys": np.array([3.0]), "high_res": maps(1)}, ["keys is float64[1]"]),
        ({"keys": [3], "high_res": maps(1)}, ["keys is of type list"]),
        ({"keys": np.array([3]), "high_res": maps(1)[0]}, ["high_res is float32[9, 14], but"]),
        ({"keys": np.array([3, 4, 5]), "high_res": maps(2)}, ["2 maps of the classes [3, 4, 5]"]),
        ({"keys": np.array([3, 3]), "high_res": maps(2)}, ["2 maps of the classes [3, 3]"]),
        ({"keys": np.array([3]), "cam": maps(1)}, ["float32[9, 14], but must be float[3, 4]"]),
        ([1, 2], ["holds int64[2], but must hold a dict of maps"]),
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


def test_a_npz_that_inflates_beyond_what_maps_can_take_is_refused(tmp_path: Path) -> None:
    """Room for all maps in float64 there is; a byte more than that and a header is refused unread."""
    path = tmp_path / "x.npz"
    values = np.zeros((20, *SIZE))
    np.savez_compressed(path, keys=np.arange(20), cams=values)
    assert read_cams(path, 20, SIZE, [3])[0].shape == (1, *SIZE)
    np.savez_compressed(path, keys=np.arange(20), cams=np.zeros((10**4, *SIZE)))
    assert path.stat().st_size < 2**14
    most = values.nbytes + 2**16
    refused(path, f"cams.npy holds more than {most} bytes, all that 20 maps of 9 × 14 pixels can take")
    np.savez(path, **{f"a{number}": values for number in range(17)})
    refused(path, "it holds 17 arrays, but may hold 16")


def test_a_npz_that_lies_about_its_size_is_inflated_no_further(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cams.npy", bytes(2**26 - 12_345))
    content = path.read_bytes()
    size = struct.pack("<I", 2**26 - 12_345)
    assert content.count(size) == 2
    path.write_bytes(content.replace(size, struct.pack("<I", 1000)))
    tracemalloc.start()
    refused(path, "can't be read")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    refused(tmp_path / "x.npy", "missing")
    refused(tmp_path / "x.npz", "missing")
