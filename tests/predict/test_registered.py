"""The network that won, from MLflow's registry: in a fresh process, on the command line, and with names misspelt."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import in_process
from trained import commit_segmenter, draw_photo

import wsss
from wsss.api.registered import _load_pyfunc
from wsss.errors import ConfigError, DataError
from wsss.files import read_json
from wsss.masks.images import read_mask
from wsss.pipeline.past.retell import remember
from wsss.predict.predictor import Predictor, Settings
from wsss.predict.trained.model import load_artefact
from wsss.predict.trained.reference import load_model
from wsss.report.conclusion import winner_of
from wsss.stages.predicted_masks import predicted_labels
from wsss.stages.training.network import load_classifier
from wsss.store.artefact import Artefact
from wsss.store.ledger import Ledger
from wsss.store.storage import open_storage
from wsss.tracking.content.conclusion import Conclusion
from wsss.tracking.database import artifacts_folder
from wsss.tracking.remote.replay import MlflowReplay

ROOT = Path(__file__).parents[2]
FRESH = """
import sys
import mlflow
import numpy as np
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/one@champion")
photo = np.load(sys.argv[2])
one, several = model.predict(photo), model.predict([photo, photo[:40]], params={"flip": True})
np.savez(sys.argv[3], one=one, first=several[0], second=several[1], both=model.predict(np.stack([photo, photo])))
print("ray" in sys.modules)
"""


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> tuple[Path, Artefact]:
    """A storage whose study `one` has a trial with a segmenter, which is registered."""
    folder = tmp_path_factory.mktemp("registered") / "runs"
    artefact = commit_segmenter(folder)
    ledger = Ledger(folder / "studies/one")
    ledger.append(
        "trial", id="segment-a-000", sweep="segment", arm="a", seed=0, params={}, configuration="c",
        upstream="", method="cam", backbone="mobilenet_v2", keys={"segmenter": artefact.key},
    )  # fmt: skip
    ledger.append("end", id="segment-a-000", status="done", metrics={})
    shutil.copy(empty_database, folder / "mlflow.db")
    uri = f"sqlite:///{folder}/mlflow.db"
    past = remember(open_storage(folder), "one")
    winner = winner_of(open_storage(folder).store, past, past.records["segment-a-000"])
    assert winner is not None
    replay = MlflowReplay(uri, artifacts_folder(uri))
    replay.do(
        {"op": "run", "study": "one", "run": "trial:segment-a-000", "name": "segment-a-000", "parent": "",
         "tags": {}, "params": {}, "cached": False}
    )  # fmt: skip
    found = Conclusion("one", "{}", "note", "", 1, 2, True, best="segment-a-000", winner=winner)
    replay.do(found.operation(None))
    return folder, artefact


@pytest.mark.long
def test_a_fresh_process_gets_the_masks_that_the_network_itself_makes(
    registered: tuple[Path, Artefact], tmp_path: Path
) -> None:
    storage, artefact = registered
    photo = draw_photo(tmp_path / "photo.png")
    np.save(tmp_path / "photo.npy", photo)
    words = [f"sqlite:///{storage}/mlflow.db", tmp_path / "photo.npy", tmp_path / "masks.npz"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run(
        [sys.executable, "-c", FRESH, *map(str, words)],
        capture_output=True, text=True, cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False"
    found = np.load(tmp_path / "masks.npz")
    model = load_artefact(artefact.folder, artefact.key)
    predictor = Predictor(model, Settings(model.scales))
    (expected,) = predictor.masks([photo], predictor.plan(*photo.shape[:2]))
    predictor.close()
    assert len(np.unique(expected)) > 1, "the network has something to say"
    assert np.array_equal(found["one"], expected) and found["one"].dtype == np.uint8
    assert found["both"].shape == (2, *expected.shape) and np.array_equal(found["both"][1], expected)
    assert found["first"].shape == expected.shape and found["second"].shape == (40, photo.shape[1])


def test_the_command_line_takes_its_name_and_writes_the_same_masks(
    registered: tuple[Path, Artefact], tmp_path: Path
) -> None:
    storage, artefact = registered
    draw_photo(tmp_path / "in/p.png")
    masks = {}
    for number, reference in enumerate(
        ("models:/one@champion", "models:/one/1", "models:/one", artefact.key)
    ):
        out = tmp_path / str(number)
        done = in_process(
            "predict", tmp_path / "in/p.png", "--model", reference, "-o", out, "--storage", storage
        )
        assert done.returncode == 0, done.stderr
        masks[reference] = read_mask(out / "p.png")
        assert json.loads((out / "areas.json").read_text())["photos"]["p"]["model"] == artefact.key
    assert all(np.array_equal(mask, masks[artefact.key]) for mask in masks.values())


def test_a_notebook_loads_it_by_the_same_name(registered: tuple[Path, Artefact], tmp_path: Path) -> None:
    storage, artefact = registered
    photo = draw_photo(tmp_path / "p.png")
    mine = wsss.load("models:/one", storage=storage, device="cpu").predict(photo)
    assert np.array_equal(mine, wsss.load(artefact.key, storage=storage, device="cpu").predict(photo))


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("models:/on@champion", ["no model of", "did you mean 'models:/one@champion'"]),
        ("models:/one@chief", ["is not there", "models:/one@champion"]),
        ("models:/one/7", ["is not there", "models:/one/1"]),
        ("models:one", ["names no registered model", "models:/STUDY@champion"]),
    ],
)
def test_names_that_lead_nowhere_are_said_with_the_nearest(
    reference: str, words: list[str], registered: tuple[Path, Artefact]
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_model(reference, registered[0])
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_folder_that_has_changed_is_refused(registered: tuple[Path, Artefact], tmp_path: Path) -> None:
    (model,) = (registered[0] / "mlartifacts/one").glob("*/artifacts/model")
    copy = shutil.copytree(model, tmp_path / "model")
    assert load_model(str(copy), tmp_path).classes == ("cat", "dog", "horse")
    assert (copy / "classes.txt").read_text() == "background\ncat\ndog\nhorse\n"
    weights = copy / "segmenter.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ConfigError, match="not what was registered"):
        load_model(str(copy), tmp_path)
    (copy / "model.json").write_text('{"stage": "other"}')
    with pytest.raises(ConfigError, match="describes no registered model"):
        load_model(str(copy), tmp_path)


@pytest.mark.parametrize("bad", [3, np.zeros((4, 5), np.uint8), np.zeros((4, 5, 3)), None])
def test_what_is_no_photo_is_said(bad: object, registered: tuple[Path, Artefact]) -> None:
    (folder,) = (registered[0] / "mlartifacts/one").glob("*/artifacts/model")
    with pytest.raises(DataError, match=r"must be"):
        _load_pyfunc(str(folder)).predict(bad)


def test_a_classifier_s_masks_are_its_own_labels_cams_and_chosen_threshold(finished_study: Path) -> None:
    (folder,) = (finished_study / "runs/mlartifacts/tiny").glob("*/artifacts/model")
    model = _load_pyfunc(str(folder))
    about = read_json(folder / "model.json")
    storage = open_storage(finished_study / "runs")
    trial = storage.ledger("tiny").trials()[about["trial"]]
    assert about["key"] == trial.keys["classifier"]
    scores = storage.store.read_json(trial.keys["cams.scores"], "scores.json")
    assert scores is not None and about["threshold"] == scores["select"]["threshold"]
    network = load_classifier(storage.store.folder(trial.keys["classifier"]))
    photos = sorted((finished_study / "runs/data").rglob("JPEGImages/*.jpg"))[:12]
    shown = 0
    for path in photos:
        mask = model.predict(str(path))
        labels = model_labels(model, path)
        expected = np.zeros(mask.shape, np.uint8)
        if labels:
            (maps,) = wsss.cams(network, [path], [labels], scales=[1.0], flip=True, device="cpu")
            best = maps.argmax(0)
            expected = np.where(maps.max(0) > np.float16(about["threshold"]), np.take(labels, best) + 1, 0)
        assert (mask != expected).mean() < 0.01
        shown += bool(labels)
    assert shown, "the classifier names something"


def model_labels(model: object, path: Path) -> list[int]:
    from wsss.api.pictures import as_rgb

    made = model.model  # type: ignore[attr-defined]
    return predicted_labels(made.network, as_rgb(path), made.cams.size, 0.5, "cpu")
