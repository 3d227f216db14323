"""What `wsss.load` finds, and what its networks say of a photo."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from examples import run_examples
from safetensors.torch import save_file
from trained import CLASSES, commit_segmenter, draw_photo

import wsss
from wsss.config.params.classifier import ClassifierParams
from wsss.errors import ConfigError
from wsss.files import sha256_json, write_json
from wsss.predict.predictor import Predictor, Settings
from wsss.predict.trained.model import load_artefact
from wsss.stages.kinds.training.files import CLASSIFIER_ABOUT, CLASSIFIER_WEIGHTS
from wsss.stages.training.network import build_network
from wsss.store.artefact import Artefact
from wsss.store.folder_store import Store
from wsss.store.ledger import Ledger


def commit_classifier(storage: Path) -> Artefact:
    params = ClassifierParams(backbone="mobilenet_v2", weights="none")
    torch.manual_seed(0)
    network = build_network(params, len(CLASSES))
    store = Store(storage / "store")
    folder = store.root / "making"
    folder.mkdir(parents=True)
    save_file(
        {name: value.contiguous() for name, value in network.state_dict().items()},
        folder / CLASSIFIER_WEIGHTS,
    )
    about = {
        "params": params.model_dump(mode="json"),
        "classes": list(CLASSES),
        "subcategories": 0,
        "parent": [],
    }
    write_json(folder / CLASSIFIER_ABOUT, about)
    record = {"stage": "classifier", "seconds": 1.0, "inputs": {}}
    return store.commit(sha256_json("classifier"), folder, record)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("api") / "runs"
    keys = {"classifier": commit_classifier(folder).key, "segmenter": commit_segmenter(folder).key}
    record = {
        "sweep": "segment", "arm": "a", "seed": 0, "params": {}, "configuration": "c", "upstream": "",
        "method": "cam", "backbone": "mobilenet_v2",
    }  # fmt: skip
    Ledger(folder / "studies" / "one").append("trial", id="segment-a-000", keys=keys, **record)
    classifier_only = {"classifier": keys["classifier"]}
    Ledger(folder / "studies" / "one").append("trial", id="cam-a-000", keys=classifier_only, **record)
    return folder


def test_a_trial_gives_its_classifier_and_its_segmenter(storage: Path, tmp_path: Path) -> None:
    trained = wsss.load("segment-a-000", storage=storage, device="cpu")
    rgb = draw_photo(tmp_path / "photo.png")
    assert trained.classes == CLASSES
    maps = trained.cam(tmp_path / "photo.png", ["horse", "cat"], scales=[1.0])
    assert maps.shape == (2, 64, 96) and maps.dtype == np.float16
    assert np.array_equal(maps, trained.cam(rgb, [0, 2], scales=[1.0])), "in the order of classes"
    mask = trained.predict(rgb)
    artefact = Store(storage / "store").get(sha256_json({"seed": 0, "stage": "segmenter"}))
    assert artefact is not None
    model = load_artefact(artefact.folder, artefact.key)
    predictor = Predictor(model, Settings(model.scales))
    (expected,) = predictor.masks([rgb], predictor.plan(64, 96))
    predictor.close()
    assert np.array_equal(mask, expected) and len(np.unique(mask)) > 1
    again = wsss.load(artefact.folder, device="cpu")
    assert again.classifier is None and np.array_equal(again.predict(rgb), mask)
    assert np.array_equal(wsss.load(artefact.key[:8], storage=storage).predict(rgb), mask)


def test_the_examples_of_docstrings_are_true(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(storage.parent)
    draw_photo(Path("photo.png"))
    for function in (wsss.load, wsss.Trained.predict, wsss.Trained.cam):
        run_examples(function)


def test_what_was_not_trained_is_said_with_what_there_is(storage: Path) -> None:
    trained = wsss.load("one/cam-a-000", storage=storage)
    with pytest.raises(ConfigError, match=r"no segmentation network.*use `cam`"):
        trained.predict(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ConfigError, match=r"no class 'hors'.*'horse'"):
        trained.cam(np.zeros((8, 8, 3), np.uint8), ["hors"])
    with pytest.raises(ConfigError, match="3 is no class: they are numbered from 0 to 2"):
        trained.cam(np.zeros((8, 8, 3), np.uint8), [3])
    with pytest.raises(ConfigError, match="'segment-a-000'"):
        wsss.load("segment-a-00", storage=storage)
    with pytest.raises(ConfigError, match=r"no file no\.pt2"):
        wsss.load("no.pt2")
    with pytest.raises(ConfigError, match="no storage"):
        wsss.load("segment-a-000", storage=storage / "nowhere")
    with pytest.raises(ConfigError, match="ftp"):
        wsss.load("segment-a-000", storage="ftp://there")


def test_importing_costs_nothing_and_every_name_is_there() -> None:
    code = (
        "import sys, wsss; print('torch' in sys.modules, [n for n in wsss.__all__ if not hasattr(wsss, n)])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False []"
    with pytest.raises(AttributeError, match="'lod'"):
        _ = wsss.lod  # type: ignore[attr-defined]


@pytest.mark.parametrize("file", [CLASSIFIER_WEIGHTS, CLASSIFIER_ABOUT])
def test_a_classifier_whose_files_have_changed_or_are_damaged_is_refused(
    file: str, storage: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(Store(storage / "store").folder(sha256_json("classifier")), folder)
    (folder / file).write_bytes((folder / file).read_bytes()[:-30])
    with pytest.raises(ConfigError, match=f"{file}: is not what was written"):
        wsss.load(folder, device="cpu")
    (folder / "artefact.json").unlink()
    with pytest.raises(ConfigError, match="describes no classifier"):
        wsss.load(folder, device="cpu")
