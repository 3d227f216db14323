"""CAMs in the layouts of public repositories, and arrays that a study names."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign_made_up import QUARTER, SIZE, Calls, maps, save
from torch.nn.functional import interpolate

from wsss.errors import DataError
from wsss.masks.foreign import read_cams

PRESENT = [3, 14]


def clip_es(path: Path, values: np.ndarray) -> Path:
    """CLIP-ES and WeCLIP: `generate_cams_voc12.py`, float16 at the photo's size."""
    return save(path / "x.npy", {"keys": np.array([14, 3]), "attn_highres": values[::-1].astype(np.float16)})


def toco(path: Path, values: np.ndarray) -> Path:
    """ToCo: `infer_seg_as_cam.py`."""
    return save(path / "x.npy", {"keys": np.array(PRESENT), "high_res": values})


def excel(path: Path, values: np.ndarray) -> Path:
    """ExCEL: `infer_lam.py`, the background's map before those of the classes."""
    background = 1 - values.max(0, keepdims=True)
    return save(
        path / "x.npy", {"valid_lam": np.concatenate([background, values]), "keys_gt": np.array(PRESENT)}
    )


def fma(path: Path, values: np.ndarray) -> Path:
    """FMA-WSSS: `infer_cam/run.py`, with attention and logits beside the maps."""
    others = {"fg_logit": np.zeros(2), "all_logit": np.zeros(20), "att": np.zeros((12, 50, 50), np.float16)}
    np.savez(path / "x.npz", cam=values, fg_cls=np.array(PRESENT), **others)
    return path / "x.npz"


def numbered(path: Path, values: np.ndarray) -> Path:
    """MCTformer and S2C: `{class: map}`."""
    return save(path / "x.npy", {3: values[0], 14: values[1]})


def tensors(path: Path, values: np.ndarray) -> Path:
    torch.save({"keys": torch.tensor(PRESENT), "high_res": torch.from_numpy(values)}, path / "x.pt")
    return path / "x.pt"


def numbered_tensors(path: Path, values: np.ndarray) -> Path:
    torch.save({3: torch.from_numpy(values[0]), 14: torch.from_numpy(values[1])}, path / "x.pth")
    return path / "x.pth"


@pytest.mark.parametrize("write", [clip_es, toco, excel, fma, numbered, tensors, numbered_tensors])
def test_layouts_of_public_repositories(tmp_path: Path, write: Any) -> None:
    values = maps(2)
    cams, keys = read_cams(write(tmp_path, values), 20, SIZE, PRESENT)
    assert keys.tolist() == PRESENT
    np.testing.assert_array_equal(cams, values.astype(np.float16))


def test_maps_of_fma_have_the_size_of_its_network(tmp_path: Path) -> None:
    values = maps(2, (5, 6))
    cams, _ = read_cams(fma(tmp_path, values), 20, SIZE, PRESENT)
    theirs = interpolate(torch.from_numpy(values)[None], SIZE, mode="bilinear", align_corners=False)[0]
    np.testing.assert_allclose(cams, theirs.numpy(), atol=6e-4)
    with pytest.raises(DataError, match=r"is float32\[10, 6\], but must be float\[9, 14\] or smaller"):
        read_cams(fma(tmp_path, maps(2, (10, 6))), 20, SIZE, PRESENT)


def test_large_arrays_beside_the_maps_are_not_read(tmp_path: Path) -> None:
    np.savez_compressed(
        tmp_path / "x.npz", cam=maps(1), fg_cls=np.array([3]), att=np.zeros((400, 400, 400), np.float16)
    )
    cams, _ = read_cams(tmp_path / "x.npz", 20, SIZE, [3])
    np.testing.assert_array_equal(cams, maps(1).astype(np.float16))


# Named arrays


@pytest.mark.parametrize("kind", ["npy", "npz", "pt"])
@pytest.mark.parametrize("size", [SIZE, QUARTER, (4, 5)])
def test_a_study_names_maps_and_keys(tmp_path: Path, kind: str, size: tuple[int, int]) -> None:
    values, path = maps(2, size), tmp_path / f"x.{kind}"
    content = {"activation": values, "labels": np.array([14, 3]), "cam": np.zeros(3)}
    if kind == "npy":
        save(path, content)
    elif kind == "npz":
        np.savez(path, **content)
    else:
        torch.save({name: torch.from_numpy(one) for name, one in content.items()}, path)
    cams, keys = read_cams(path, 20, SIZE, PRESENT, maps="activation", keys="labels")
    theirs = interpolate(torch.from_numpy(values)[None], SIZE, mode="bilinear", align_corners=False)[0]
    assert keys.tolist() == PRESENT
    np.testing.assert_allclose(cams, theirs.numpy()[::-1], atol=6e-4)


@pytest.mark.parametrize("lead", [(), (1,)], ids=["alone", "a batch of one"])
@pytest.mark.parametrize("background", [False, True])
def test_without_keys_there_is_a_map_of_every_class(
    tmp_path: Path, background: bool, lead: tuple[int, ...]
) -> None:
    values = maps(4)
    whole = np.concatenate([np.full((1, *SIZE), 0.5, np.float32), values]) if background else values
    np.savez(tmp_path / "x.npz", prob=whole.reshape(*lead, *whole.shape), other=np.zeros(2))
    cams, _ = read_cams(tmp_path / "x.npz", 4, SIZE, [1, 3], maps="prob")
    np.testing.assert_array_equal(cams, values[[1, 3]].astype(np.float16))
    save(tmp_path / "bare.npy", whole)
    cams, _ = read_cams(tmp_path / "bare.npy", 4, SIZE, [1, 3])
    np.testing.assert_array_equal(cams, values[[1, 3]].astype(np.float16))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"maps": "actvation"}, ["holds ['activation', 'labels'], but no 'actvation'", "mean 'activation'?"]),
        ({"maps": "activation", "keys": "label"}, ["but no 'label'", "did you mean 'labels'?"]),
        ({"maps": "activation"}, ["activation holds 2 maps of the 20 classes", "`keys: NAME`"]),
        ({"maps": "labels"}, ["labels is int64[2], but must be float[n, H, W]"]),
        (
            {"maps": "activation", "keys": "activation"},
            ["activation is float32[2, 9, 14], but must be int[n]"],
        ),
        (
            {},
            [
                "holds ['activation', 'labels'], but must hold classes",
                "'attn_highres' with 'keys'",
                "`maps: N",
            ],
        ),
    ],
)
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_what_is_not_there_is_said_with_what_is(
    tmp_path: Path, asked: dict[str, str], words: list[str], kind: str
) -> None:
    path = tmp_path / f"x.{kind}"
    content = {"activation": maps(2), "labels": np.array([14, 3])}
    save(path, content) if kind == "npy" else np.savez(path, **content)  # type: ignore[arg-type]
    with pytest.raises(DataError) as caught:
        read_cams(path, 20, SIZE, PRESENT, maps=asked.get("maps"), keys=asked.get("keys"))
    assert len(caught.value.problems) == 1 and caught.value.problems[0].where == str(path)
    for word in words:
        assert word in str(caught.value)


# Files of torch


def refused(path: Path, *words: str) -> None:
    with pytest.raises(DataError) as caught:
        read_cams(path, 20, SIZE, [3])
    assert str(path) in str(caught.value)
    for word in words:
        assert word in str(caught.value)
    assert "Traceback" not in str(caught.value) and len(str(caught.value)) < 800


def test_a_file_of_torch_never_runs_code(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    torch.save({3: Calls(Path.touch, marker)}, tmp_path / "x.pt")
    refused(tmp_path / "x.pt", "torch can't load it safely", "save a dict of tensors")
    assert not marker.exists()


def test_files_of_torch_that_ask_for_much_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"keys": torch.tensor([3]), "high_res": torch.zeros(1).expand(10**4, 10**3, 10**3)}, path)
    refused(path, "a tensor shows 10,000,000,000 numbers, more than 20 maps of 9 × 14 pixels have")
    torch.save({"keys": torch.tensor([3]), "high_res": torch.zeros(1, *SIZE).to_sparse()}, path)
    refused(path, "x.pt: can't be read")
    torch.save({"keys": torch.tensor([3]), "high_res": torch.zeros(10**6, 10**6, device="meta")}, path)
    refused(path, "x.pt: can't be read")
    torch.save({number: torch.zeros(SIZE) for number in range(3000)}, path)
    refused(path, "it takes more than 20000 steps")


def test_old_compressed_and_damaged_files_of_torch_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    content = {"keys": torch.tensor([3]), "high_res": torch.zeros(1, *SIZE)}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    refused(path, "no file of torch 1.6 or newer; save it again")
    path.write_bytes(pickle.dumps(3))
    refused(path, "no file of torch 1.6 or newer")
    torch.save(content, path)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    refused(path, "its archive is compressed")
    for length in range(0, len(whole) - 1, 97):
        path.write_bytes(whole[:length])
        refused(path)


def test_bfloat16_is_read_as_its_numbers(tmp_path: Path) -> None:
    values = torch.tensor([[0.5, 0.25], [1.0, 0.0]])[None]
    torch.save({"keys": torch.tensor([3]), "high_res": values.bfloat16()}, tmp_path / "x.pt")
    cams, _ = read_cams(tmp_path / "x.pt", 20, (2, 2), [3])
    assert cams[0].tolist() == values[0].tolist()


def test_a_file_larger_than_its_maps_could_be_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wsss.masks.foreign import arrays

    monkeypatch.setattr(arrays, "LEAST_LIMIT", 1000)
    path = save(tmp_path / "x.npy", np.zeros(10**6))
    refused(path, "has 8,000,128 bytes, but 20 maps of 9 × 14 pixels take at most 80,640")


def test_a_header_that_promises_more_than_the_file_has_is_refused(tmp_path: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (20, 1000000, 1000000), }"
    body = (
        b"\x93NUMPY\x01\x00"
        + len(header.ljust(117) + b"\n").to_bytes(2, "little")
        + header.ljust(117)
        + b"\n"
    )
    (tmp_path / "x.npy").write_bytes(body + bytes(400))
    refused(tmp_path / "x.npy", "doesn't fit 400 bytes")
