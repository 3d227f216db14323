"""Programs equal the network they were made from, and files that could run code are not read."""

from __future__ import annotations

import io
import json
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import in_process
from torch.nn.functional import interpolate
from trained import CLASSES, draw_photo, make_network

from wsss.errors import ConfigError, PreflightError, StageError
from wsss.masks.images import read_mask
from wsss.masks.segmentation import segment
from wsss.models import DeepLab
from wsss.predict import export
from wsss.predict.export import export_network
from wsss.predict.trained.program import read_program
from wsss.stages.training.segmentation_network import load_segmenter
from wsss.store.artefact import Artefact


@pytest.fixture(scope="module")
def exported(segmenter: Artefact, storage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "animals.pt2"
    run = in_process("predict", "--model", segmenter.key, "--export", path, "--storage", storage)
    assert run.returncode == 0, run.stderr
    assert "differ by" in run.stdout and "at 192×128" in run.stdout and "at 150×231" in run.stdout
    return path


def test_a_program_needs_nothing_of_us_and_says_what_it_is(exported: Path, segmenter: Artefact) -> None:
    extra = {"wsss.json": ""}
    module = torch.export.load(exported, extra_files=extra).module()
    about = json.loads(extra["wsss.json"])
    assert about["labels"] == ["background", *CLASSES]
    assert about["model"] == segmenter.key
    network = load_segmenter(segmenter.folder)
    assert (tuple(about["mean"]), tuple(about["std"])) == (network.mean, network.std)
    for shape in ((1, 3, 97, 64), (2, 3, 40, 205), (1, 3, 16, 16)):
        x = torch.randn(shape)
        with torch.inference_mode():
            assert (module(x) - network.logits(x)).abs().max() < 1e-4
    names = zipfile.ZipFile(exported).namelist()
    assert not any(zipfile.ZipFile(exported).read(name) for name in names if name.endswith(".pt"))


def test_a_program_predicts_like_its_artefact(
    exported: Path, segmenter: Artefact, storage: Path, tmp_path: Path
) -> None:
    draw_photo(tmp_path / "a.png", 101, 67)
    for reference, out in ((exported, "program"), (segmenter.key, "artefact")):
        run = in_process(
            "predict",
            tmp_path / "a.png",
            "--model",
            reference,
            "-o",
            tmp_path / out,
            "--flip",
            "--storage",
            storage,
        )
        assert run.returncode == 0, run.stderr
    masks = [read_mask(tmp_path / out / "a.png") for out in ("program", "artefact")]
    assert np.mean(masks[0] != masks[1]) < 1e-3
    assert len(np.unique(masks[1])) > 1


def test_export_refuses_what_differs_other_endings_and_files_that_exist(
    segmenter: Artefact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exported: Path
) -> None:
    network = load_segmenter(segmenter.folder)
    with pytest.raises(ConfigError, match=r"ends in \.pt2 or \.onnx"):
        export_network(network, tmp_path / "a.pth", id="x")
    with pytest.raises(ConfigError, match="exists already"):
        export_network(network, exported, id="x")
    with torch.no_grad():
        network.aspp.c0.bias += 1e-3
    monkeypatch.setattr(export.torch.export, "export", lambda *a, **k: torch.export.load(exported))
    with pytest.raises(StageError, match=r"was not written: its logits differ by 1\.0e-03"):
        export_network(network, tmp_path / "a.pt2", id="x")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> tuple[DeepLab, Path]:
    """EfficientNet-Lite0, whose padding depends on the picture's size."""
    network, _ = make_network(backbone="efficientnet_lite0")
    path = tmp_path_factory.mktemp("lite") / "lite.pt2"
    began = time.process_time()
    found = export_network(network, path, id="x")
    assert time.process_time() - began < 60, "10 s are usual"
    assert set(found.differences) == {(1, 3, 128, 192), (3, 3, 232, 152)} and found.largest <= 1e-4
    return network, path


@pytest.mark.long
def test_lite0_is_exported_for_multiples_of_its_stride(lite: tuple[DeepLab, Path]) -> None:
    network, path = lite
    extra = {"wsss.json": ""}
    module = torch.export.load(path, extra_files=extra).module()
    about = json.loads(extra["wsss.json"])
    assert about["multiple"] == 8 and "zeros" in about["padding"]
    for shape in ((1, 3, 96, 64), (2, 3, 40, 208), (1, 3, 16, 16)):
        x = torch.randn(shape)
        with torch.inference_mode():
            expected = network.logits(x)
            assert expected.std() > 0.1
            assert (module(x) - expected).abs().max() < 1e-4
    with pytest.raises(RuntimeError, match=r"shape\[2\] = 97 to be of the form 8"):
        module(torch.randn(1, 3, 97, 64))


@pytest.mark.long
def test_lite0_takes_other_sizes_padded_and_cropped(lite: tuple[DeepLab, Path]) -> None:
    network, path = lite
    program = read_program(path)
    x = torch.randn(2, 3, 45, 62).contiguous(memory_format=torch.channels_last)
    padded = torch.zeros(2, 3, 48, 64)
    padded[:, :, :45, :62] = x
    with torch.inference_mode():
        found, half = program.pyramid(x, [1.0, 0.5])
        by_pixel = interpolate(network.logits(padded), (48, 64), mode="bilinear", align_corners=False)
    assert (found - by_pixel[:, :, :45, :62]).abs().max() < 1e-4
    assert half.shape == (2, len(CLASSES) + 1, 22, 31)


@pytest.mark.long
def test_lite0_segments_a_photo_like_its_network(lite: tuple[DeepLab, Path], tmp_path: Path) -> None:
    network, path = lite
    photo = draw_photo(tmp_path / "a.png", 96, 128)
    one, other = (
        segment(model, photo, scales=(1.0, 0.5), flip=True, device="cpu").argmax(0)
        for model in (network, read_program(path))
    )
    assert len(np.unique(one)) > 1 and np.mean(one != other) < 1e-3


def rewritten(source: Path, target: Path, name: str, change: Callable[[bytes], bytes]) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        members = {member: old.read(member) for member in old.namelist()}
        root = next(iter(members)).partition("/")[0]
        members[f"{root}/{name}"] = change(members.get(f"{root}/{name}", b""))
        for member, content in members.items():
            new.writestr(member, content)
    return target


def pickled(content: bytes) -> bytes:
    buffer = io.BytesIO()
    torch.save(((torch.zeros(1),), {}), buffer)
    return buffer.getvalue()


MODEL = "models/model.json"
ATTACKS = {
    "pickle": ("data/sample_inputs/model.pt", pickled),
    "pickled weights": ("data/weights/model_weights_config.json", lambda c: c.replace(b'"use_pickle": false', b'"use_pickle": true', 1)),
    "constants": ("data/constants/model.pt", pickled),
    "operator": (MODEL, lambda c: c.replace(b"torch.ops.aten.relu6.default", b"torch.os.system").replace(b"torch.ops.aten.hardtanh.default", b"torch.os.system").replace(b"torch.ops.aten.conv2d.default", b"torch.os.system", 1)),
    "expression": (MODEL, lambda c: c.replace(b'"expr_str": "', b'"expr_str": "eval(chr(49)) + ', 1)),
    "attribute": (MODEL, lambda c: c.replace(b'"expr_str": "', b'"expr_str": "s0.__class__ + ', 1)),
    "guard": (MODEL, lambda c: c.replace(b'"guards_code": [', b'"guards_code": ["print(1) == 1", ', 1)),
    "library": ("data/aotinductor/model/x.so", lambda c: b"\x7fELF"),
}  # fmt: skip


def test_a_file_that_unpacks_to_more_than_it_has_fills_no_memory(exported: Path, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.pt2"
    with zipfile.ZipFile(exported) as old, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as new:
        root = old.namelist()[0].partition("/")[0]
        for name in old.namelist():
            new.writestr(name, b"" if "weights/weight" in name else old.read(name))
        new.writestr(f"{root}/extra/zeros", bytes(64 * 1024**2))
    assert bomb.stat().st_size < 8 * 1024**2
    with pytest.raises(ConfigError, match=r"claims to hold \d\d,\d{3},\d{3} bytes, more than it has"):
        read_program(bomb)


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_file_that_could_run_code_is_not_read(attack: str, exported: Path, tmp_path: Path) -> None:
    name, change = ATTACKS[attack]
    unchanged = rewritten(exported, tmp_path / "same.pt2", name, lambda content: content)
    path = rewritten(exported, tmp_path / "bad.pt2", name, change)
    assert path.read_bytes() != unchanged.read_bytes()
    with pytest.raises(ConfigError, match="is not read, since it could run code"):
        read_program(path)


def test_files_that_are_no_programs_of_ours(tmp_path: Path) -> None:
    (tmp_path / "text.pt2").write_text("x")
    with pytest.raises(ConfigError, match=r"is no \.pt2 file"):
        read_program(tmp_path / "text.pt2")
    torch.save({}, tmp_path / "weights.pt2")
    with pytest.raises(ConfigError, match=r"holds no wsss\.json"):
        read_program(tmp_path / "weights.pt2")


@pytest.mark.long
def test_onnx_equals_the_network_at_any_size_and_says_what_it_is(
    segmenter: Artefact, storage: Path, tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx", reason="ONNX's packages are an extra: pip install -e '.[onnx]'")
    onnxruntime = pytest.importorskip("onnxruntime", reason="as above")
    path = tmp_path / "animals.onnx"
    run = in_process("predict", "--model", segmenter.key, "--export", path, "--storage", storage)
    assert run.returncode == 0, run.stderr
    assert "at 192×128" in run.stdout and "at 150×231" in run.stdout
    assert [file.name for file in tmp_path.iterdir()] == ["animals.onnx"]
    onnx.checker.check_model(str(path), full_check=True)
    session = onnxruntime.InferenceSession(str(path))
    about = json.loads(session.get_modelmeta().custom_metadata_map["wsss.json"])
    assert about["labels"] == ["background", *CLASSES] and about["model"] == segmenter.key
    network = load_segmenter(segmenter.folder)
    assert (tuple(about["mean"]), tuple(about["std"])) == (network.mean, network.std)
    for shape in ((1, 3, 97, 64), (2, 3, 40, 205), (1, 3, 16, 16)):
        x = torch.randn(shape)
        (theirs,) = session.run(["logits"], {"image": x.numpy()})
        with torch.inference_mode():
            ours = network.logits(x).numpy()
        assert ours.std() > 0.1
        assert np.abs(theirs - ours).max() < 1e-4
    draw_photo(tmp_path / "a.png")
    again = in_process(
        "predict", tmp_path / "a.png", "--model", path, "-o", tmp_path / "out", "--storage", storage
    )
    assert again.returncode == 2
    assert "is a .onnx file, but must be .safetensors or .pt2" in again.stderr


def test_without_its_packages_onnx_names_the_command_that_installs_them(
    segmenter: Artefact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(PreflightError, match=r"needs onnxruntime, which is not installed.*\[onnx\]"):
        export_network(load_segmenter(segmenter.folder), tmp_path / "a.onnx", id="x")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_for_a_hub_loads_as_what_it_was_made_from(
    segmenter: Artefact, exported: Path, storage: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "animals"
    words = ["predict", "--model", segmenter.key, "--export", folder, "--storage", storage]
    run = in_process(*words)
    assert run.returncode == 0, run.stderr
    names = {"segmenter.safetensors", "segmenter.json", "README.md"}
    assert {file.name for file in folder.iterdir()} == names
    assert "# animals\n" in (folder / "README.md").read_text()
    ours, theirs = load_segmenter(segmenter.folder), load_segmenter(folder)
    x = torch.randn(1, 3, 40, 56)
    with torch.inference_mode():
        assert torch.equal(ours.logits(x), theirs.logits(x))
    draw_photo(tmp_path / "a.png")
    (tmp_path / "elsewhere").mkdir()
    moved = folder.rename(tmp_path / "elsewhere" / "pulled")
    for reference in (moved, moved / "segmenter.safetensors"):
        out = tmp_path / f"out-{reference.name}"
        run = in_process("predict", tmp_path / "a.png", "--model", reference, "-o", out, "--storage", storage)
        assert run.returncode == 0, run.stderr
    moved.rename(folder)
    (folder / "README.md").write_text("mine")
    again = in_process(*words)
    assert again.returncode == 2 and again.stderr.count("exists already") == 3
    assert (folder / "README.md").read_text() == "mine"
    program = in_process("predict", "--model", exported, "--export", tmp_path / "b", "--storage", storage)
    assert program.returncode == 2 and "is a program already" in program.stderr
