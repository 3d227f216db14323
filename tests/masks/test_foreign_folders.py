"""Damaged files, folders of files, and masks of other programs."""

from __future__ import annotations

import contextlib
import pickle
import struct
import zipfile
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_made_up import DICT_HEADER, QUARTER, SIZE, maps, refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from wsss.errors import DataError
from wsss.masks.foreign import foreign_files, read_cams, read_foreign_mask
from wsss.masks.images import write_mask

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
        f"{tmp_path}/c.npy: file is missing (expected <id>.npy, <id>.npz, <id>.pt or <id>.pth)",
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
