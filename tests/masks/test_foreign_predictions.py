"""Segmentations of other programs: pictures, ids and scores in the layouts of public repositories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign_made_up import SIZE, Calls, save
from PIL import Image
from torch.nn.functional import interpolate

from wsss.errors import DataError
from wsss.masks.foreign import foreign_files, read_segmentation

LABELS = 21


def scores(size: tuple[int, int] = SIZE, labels: int = LABELS) -> np.ndarray:
    return np.random.default_rng(size[0]).normal(size=(1, labels, *size)).astype(np.float32)


def winners(values: np.ndarray) -> np.ndarray:
    whole = interpolate(torch.from_numpy(values), SIZE, mode="bilinear", align_corners=False)[0]
    return whole.argmax(0).numpy()


def read(path: Path, **more: Any) -> np.ndarray:
    return read_segmentation(path, 20, SIZE, **more)


@pytest.mark.parametrize("size", [SIZE, (5, 7), (18, 28)], ids=["the photo's", "smaller", "larger"])
@pytest.mark.parametrize("names", [("msc_seg",), ("segs", "msc_segs")], ids=["DuPL, ToCo, ExCEL", "WeCLIP"])
def test_scores_of_public_repositories(tmp_path: Path, names: tuple[str, ...], size: tuple[int, int]) -> None:
    values = scores(size)
    content = dict.fromkeys(names, np.zeros_like(values)) | {names[-1]: values}
    found = read(save(tmp_path / "x.npy", content))
    assert found.dtype == np.uint8 and found.shape == SIZE
    np.testing.assert_array_equal(found, winners(values))


@pytest.mark.parametrize("kind", ["npy", "npz", "pt"])
def test_scores_by_another_name_or_alone(tmp_path: Path, kind: str) -> None:
    values, path = scores()[0], tmp_path / f"x.{kind}"
    many = {"logits": values, "feature": np.zeros(3, np.float32)}
    for content, name in ((many, "logits"), ({"anything": values}, None)):
        if kind == "npy":
            save(path, content)
        elif kind == "npz":
            np.savez(path, **content)
        else:
            torch.save({key: torch.from_numpy(one) for key, one in content.items()}, path)
        np.testing.assert_array_equal(read(path, name=name), values.argmax(0))
    save(tmp_path / "bare.npy", values)
    np.testing.assert_array_equal(read(tmp_path / "bare.npy"), values.argmax(0))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
def test_ids_of_every_pixel(tmp_path: Path, dtype: Any) -> None:
    ids = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE) % LABELS
    np.testing.assert_array_equal(read(save(tmp_path / "x.npy", ids.astype(dtype))), ids)
    Image.fromarray(ids.astype(np.uint8)).save(tmp_path / "x.png")
    np.testing.assert_array_equal(read(tmp_path / "x.png"), ids)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (scores(labels=20), ["scores are float32[20, 9, 14], but must be of 21 labels (the background comes first"]),
        (scores()[0, 0], ["scores are float32[9, 14], but must be int[9, 14] or float[21, h, w]"]),
        (np.full(SIZE, 21), ["mask holds the ids 21, but they must be in [0, 20]"]),
        (np.full(SIZE, -1), ["mask holds the ids -1"]),
        (np.full(SIZE, 255), ["255", "so no 255; for pseudo masks with gaps say `missing: zero`"]),
        (np.arange(126).reshape(SIZE) + 30, ["and 106 more"]),
        (np.zeros((9, 15), int), ["mask is [9, 15], but must be [9, 14] like its photo"]),
        (np.full((1, LABELS, *SIZE), np.nan, np.float32), ["scores of label 0 aren't finite"]),
        (np.zeros((1, LABELS, 0, 4), np.float32), ["must be of 21 labels"]),
        ({"a": scores(), "b": scores()}, ["holds ['a', 'b'], but must hold one array", "`maps: NAME`"]),
        ({3: Calls(print, "x")}, ["can't be read"]),
        ("text", ["scores are <U4[], but must be"]),
    ],
)  # fmt: skip
def test_what_is_no_segmentation_is_refused(tmp_path: Path, content: Any, words: list[str]) -> None:
    path = save(tmp_path / "x.npy", content)
    with pytest.raises(DataError) as caught:
        read(path)
    assert len(caught.value.problems) == 1 and caught.value.problems[0].where == str(path)
    for word in words:
        assert word in str(caught.value)


def test_a_name_that_is_not_there_is_said_with_the_nearest(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", msc_seg=scores(), prob=scores())
    with pytest.raises(DataError, match=r"holds \['msc_seg', 'prob'\], but no 'msc_segs' .*'msc_seg'"):
        read(tmp_path / "x.npz", name="msc_segs")


def test_files_are_found_in_any_of_the_forms(tmp_path: Path) -> None:
    for name in ("a.png", "b.npy", "c.npz", "d.pt", "e.pth", "f.png", "f.npy"):
        (tmp_path / name).touch()
    found = foreign_files(tmp_path, ["a", "b", "c", "d", "e"], "segmentations")
    assert [path.name for path in found.values()] == ["a.png", "b.npy", "c.npz", "d.pt", "e.pth"]
    with pytest.raises(DataError, match=r"f\.png: f\.npy exists too"):
        foreign_files(tmp_path, ["f"], "segmentations")
