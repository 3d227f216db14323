"""What --model REF stands for, and what is said when it stands for nothing or for too much."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
import torch
from mlflow.tracking import MlflowClient
from safetensors.torch import save_file
from trained import CLASSES, commit_segmenter

from wsss.errors import ConfigError
from wsss.models import DeepLab
from wsss.predict.trained.reference import find_network, load_model
from wsss.store.folder_store import Store
from wsss.store.ledger import Ledger
from wsss.store.storage import open_storage

FIRST, SECOND, OTHER = "ab12cd" + "0" * 58, "ab12cd" + "1" * 58, "ffeedd" + "2" * 58


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two segmenters and a classifier; studies `one` (trials of one and of both) and `two` (a like-named one)."""
    folder = tmp_path_factory.mktemp("trials") / "runs"
    commit_segmenter(folder, key=FIRST)
    commit_segmenter(folder, key=SECOND, seed=1)
    commit_segmenter(folder, key=OTHER, stage="classifier")
    record = {
        "sweep": "segment", "arm": "a", "seed": 0, "params": {}, "configuration": "c", "upstream": "",
        "method": "cam", "backbone": "efficientnet_lite0",
    }  # fmt: skip
    one, two = Ledger(folder / "studies" / "one"), Ledger(folder / "studies" / "two")
    keys = {"classifier": OTHER, "segmenter": FIRST}
    one.append("trial", id="segment-a-000", keys=keys, **record)
    one.append(
        "trial",
        id="segment-a-001",
        keys={**keys, "segmenter2": SECOND, "segmenter2.scores": "0" * 64},
        **record,
    )
    one.append("trial", id="cam-a-000", keys={"classifier": OTHER}, **record)
    two.append("trial", id="segment-a-001", keys=keys, **record)
    return folder


def test_keys_and_trials_lead_to_their_segmenter(trials: Path) -> None:
    assert find_network(FIRST, open_storage(trials)).key == FIRST
    assert find_network("ab12cd1", open_storage(trials)).key == SECOND
    assert find_network("segment-a-000", open_storage(trials)).key == FIRST
    assert find_network("one/segment-a-001", open_storage(trials)).key == SECOND, "the last of several"
    assert find_network("two/segment-a-001", open_storage(trials)).key == FIRST
    assert load_model(str(Store(trials / "store").folder(SECOND)), trials).id == SECOND


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("ab12cd", ["ambiguous", "ab12cd0", "ab12cd1"]),
        ("ab12c", ["nothing in", "ab12cd000000"]),
        ("ffeedd", ["is a classifier artefact", "segmenter"]),
        ("segment-a-001", ["several studies", "one/segment-a-001", "two/segment-a-001"]),
        ("segment-a-00", ["nothing in", "did you mean 'segment-a-00"]),
        ("cam-a-000", ["has trained no segmenter", "classifier"]),
        ("../x", ["nothing in"]),
        ("one", ["is 'one', a study", "choose from one/segment-a-000, one/segment-a-001"]),
        ("model.onnx", ["there is no file model.onnx"]),
        ("nowhere/model.safetensors", ["there is no file"]),
    ],
)
def test_what_leads_nowhere_is_said(reference: str, words: list[str], trials: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_model(reference, trials)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_files_that_are_gone_or_damaged(trials: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(trials, tmp_path / "runs")
    Store(copy / "store").evict(FIRST)
    with pytest.raises(ConfigError, match=r"deleted to save space.*run one again"):
        load_model("segment-a-000", copy)
    weights = Store(copy / "store").folder(SECOND) / "segmenter.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ConfigError, match="damaged"):
        load_model("one/segment-a-001", copy)
    with pytest.raises(ConfigError, match="no storage at"):
        load_model("segment-a-000", tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("file", ["segmenter.safetensors", "segmenter.json", "artefact.json"])
def test_a_folder_whose_files_have_changed_is_refused(file: str, trials: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(Store(trials / "store").folder(FIRST), tmp_path / "mine")
    content = bytearray((folder / file).read_bytes())
    content[-20] ^= 1
    (folder / file).write_bytes(content)
    for reference in (folder, folder / "segmenter.safetensors"):
        with pytest.raises(ConfigError, match=rf"{file}: (is not what was written|can't be used)"):
            load_model(str(reference), trials)


def test_what_is_no_file_or_no_segmenter_is_named_and_never_waited_for(trials: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(ConfigError, match=f"{name}.safetensors is no file"):
            load_model(str(tmp_path / f"{name}.safetensors"), trials)
    other = Store(trials / "store").folder(OTHER)
    (renamed := shutil.copytree(other, tmp_path / "other") / "segmenter.safetensors").unlink()
    with pytest.raises(ConfigError, match="is a classifier artefact, but must be a segmenter"):
        load_model(str(renamed.parent), trials)


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ("[]", "`classes` must be a list"),
        ('{"classes": "cat", "params": {}}', "`classes` must be a list"),
        ('{"classes": ["cat"], "params": null}', "params|dictionary"),
        ('{"classes": ["cat"], "params": {"backbone": 3}}', r"params.backbone: .*string"),
    ],
)
def test_a_description_that_is_none_is_said_in_words(
    about: str, words: str, trials: Path, tmp_path: Path
) -> None:
    shutil.copy(Store(trials / "store").folder(FIRST) / "segmenter.safetensors", tmp_path / "a.safetensors")
    (tmp_path / "a.json").write_text(about)
    with pytest.raises(ConfigError, match=words) as caught:
        load_model(str(tmp_path / "a.safetensors"), trials)
    assert not re.search("object is not|validation error|indices", str(caught.value))


def test_a_file_is_its_network(trials: Path, tmp_path: Path) -> None:
    folder = Store(trials / "store").folder(FIRST)
    for ending in ("safetensors", "json"):
        shutil.copy(folder / f"segmenter.{ending}", tmp_path / f"mine.{ending}")
    model = load_model(str(tmp_path / "mine.safetensors"), trials)
    reference = load_model(FIRST, trials)
    assert model.classes == CLASSES and model.scales == (1.0, 0.5) and len(model.id) == 64
    x = torch.rand(1, 3, 40, 48)
    assert isinstance(model.network, DeepLab) and isinstance(reference.network, DeepLab)
    assert torch.equal(model.network.logits(x), reference.network.logits(x))
    save_file({"a": torch.zeros(1)}, tmp_path / "mine.safetensors")
    with pytest.raises(ConfigError, match=r"doesn't hold the weights of mobilenet_v2 with 3 classes"):
        load_model(str(tmp_path / "mine.safetensors"), trials)
    (tmp_path / "mine.json").write_text('{"classes": ["a"], "params": {"backbone": 3}}')
    with pytest.raises(ConfigError, match="describes no segmentation network"):
        load_model(str(tmp_path / "mine.safetensors"), trials)
    (tmp_path / "mine.json").unlink()
    with pytest.raises(ConfigError, match=r"mine\.json: is missing"):
        load_model(str(tmp_path / "mine.safetensors"), trials)


def test_a_run_of_mlflow_leads_to_its_trial(
    trials: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    copy = shutil.copytree(trials, tmp_path / "runs")
    client = MlflowClient(f"sqlite:///{copy}/mlflow.db")
    experiment = client.create_experiment("one", (tmp_path / "artifacts").as_uri())
    trial = client.create_run(experiment, tags={"wsss.trial": "segment-a-001", "wsss.sweep": "segment"})
    sweep = client.create_run(experiment, tags={"wsss.sweep": "segment"})
    gone = client.create_run(experiment, tags={"wsss.trial": "segment-a-009", "wsss.sweep": "segment"})
    storage = open_storage(copy)
    assert find_network(trial.info.run_id, storage).key == SECOND
    with pytest.raises(ConfigError, match="a whole sweep of one"):
        find_network(sweep.info.run_id, storage)
    with pytest.raises(ConfigError, match=r"trial 'segment-a-009' of one, which .* doesn't hold"):
        find_network(gone.info.run_id, storage)
    with pytest.raises(ConfigError, match="nothing in"):
        find_network("0123456789abcdef" * 2, storage)
