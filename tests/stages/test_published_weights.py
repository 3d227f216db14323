"""CAMs of a classifier that others have published, without training it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_devkit import write_tiny_voc
from torch.nn.functional import conv2d

from wsss.config import DataSpec, SplitSpec
from wsss.config.params.stages import CamsParams, ClassifierParams
from wsss.data.readers.voc import VOC_CLASSES
from wsss.data.view import DataView, open_data
from wsss.errors import ConfigError
from wsss.models import create_backbone
from wsss.pipeline.chains.chain import Chain, Part, build_chain
from wsss.pipeline.chains.execute import run_chain
from wsss.pipeline.past.results import chain_result
from wsss.stages.shards import CamShards
from wsss.stages.training.network import load_classifier
from wsss.store.folder_store import Store


def view_of(folder: Path, *classes: str) -> DataView:
    spec = DataSpec(
        dataset="voc", root=folder / "voc", holdout=0, classes=classes or "all",
        select=SplitSpec(split="train", half="a"), report=SplitSpec(split="train", half="b"),
    )  # fmt: skip
    return open_data(spec, storage=folder, workers=1)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A devkit beside a checkpoint in the layout of IRN's CAM network."""
    folder = tmp_path_factory.mktemp("published")
    write_tiny_voc(folder / "voc")
    torch.manual_seed(1)
    trunk = create_backbone("resnet50", "none").state_dict()
    state = {f"resnet50.{name}": tensor for name, tensor in trunk.items()}
    state["classifier.weight"] = torch.randn(20, 2048, 1, 1) * 0.01
    torch.save(state, folder / "res50_cam.pth")
    return folder


def chain_of(folder: Path, data: DataView, **params: object) -> Chain:
    given = {"backbone": "resnet50", "weights": str(folder / "res50_cam.pth"), "head": "weights", "epochs": 0,
             "crop": 32, "long_side": [32, 48], "rung": {"images": 2}}  # fmt: skip
    parts = [
        Part("classifier", "classifier", ClassifierParams.model_validate({**given, **params})),
        Part("cams", "cams", CamsParams(scales=(1.0,), flip=False)),
    ]
    return build_chain(parts, data, 0)


@pytest.mark.parametrize("classes", [(), ("dog", "bus", "cat")], ids=["all", "three in another order"])
def test_a_published_classifier_makes_its_maps(
    published: Path, tmp_path: Path, classes: tuple[str, ...]
) -> None:
    data, store = view_of(published, *classes), Store(tmp_path / "store")
    chain = chain_of(published, data)
    list(run_chain("t", chain, store, data, device="cpu", threads=1))
    state = torch.load(published / "res50_cam.pth", weights_only=True)
    network = load_classifier(store.folder(chain["classifier"].key)).eval()
    photo = torch.randn(1, 3, 64, 96)
    trunk = create_backbone("resnet50", "none")
    trunk.load_state_dict(
        {name[9:]: tensor for name, tensor in state.items() if name.startswith("resnet50.")}
    )
    with torch.no_grad():
        theirs = conv2d(trunk.eval()(photo), state["classifier.weight"])[0]
        ours = network.cam(photo)[0]
    for row, name in enumerate(data.dataset.classes):
        torch.testing.assert_close(ours[row], theirs[VOC_CLASSES.index(name)], atol=2e-4, rtol=1e-2)
    shards = CamShards(store.folder(chain["cams"].key))
    assert all(np.isfinite(shards[id][0]).all() for id in shards)
    assert "cams/select/miou" in chain_result(chain, store).metrics
    about = store.known(chain["classifier"].key)
    assert about is not None and about.record["summary"]["initial_weights"] == "IRN's CAM network"


def test_it_may_also_be_trained_on(published: Path, tmp_path: Path) -> None:
    data, store = view_of(published), Store(tmp_path / "store")
    chain = chain_of(published, data, epochs=1, batch=2, lr=1e-9, dropout=0.0).upto("classifier")
    list(run_chain("t", chain, store, data, device="cpu", threads=1))
    head = torch.load(published / "res50_cam.pth", weights_only=True)["classifier.weight"]
    trained = load_classifier(store.folder(chain["classifier"].key)).head.weight
    torch.testing.assert_close(trained.detach(), head, atol=1e-4, rtol=1e-3)


def test_classes_that_no_published_head_knows_are_named_beforehand(published: Path, tmp_path: Path) -> None:
    root = tmp_path / "voc"
    write_tiny_voc(root)
    (root / "classes.txt").write_text("bus\nkitten\ndog\n")
    for file in (root / "Annotations").iterdir():
        file.write_text(file.read_text().replace("<name>cat", "<name>kitten"))
    data = open_data(
        DataSpec(dataset="voc", root=root, holdout=0, select=SplitSpec(split="train", half="a"),
                 report=SplitSpec(split="train", half="b")),
        storage=tmp_path, workers=1, verify=False,
    )  # fmt: skip
    with pytest.raises(ConfigError, match="head: is a head of PASCAL VOC's classes, which have no 'kitten'"):
        chain_of(published, data)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"epochs": 0}, "`epochs` is 0, but must be greater than 0, unless `head: weights`"),
        ({"head": "weights"}, "needs a published classifier, but `weights` is 'package'"),
        ({"head": "weights", "weights": "x.pth", "epochs": 0, "mixing": {"kind": "fmix"}}, "`mixing.kind` is a way to train"),
        ({"epochs": -1}, "greater than or equal to 0"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(params: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        ClassifierParams.model_validate(params)


def test_keys_of_trained_classifiers_are_what_they_were() -> None:
    assert "head" not in ClassifierParams().content()
