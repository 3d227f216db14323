"""Published numbers beside our rows: only of the same protocol, and as the file has them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from made_up import FAIR, GOOD, POOR, Storage

from wsss.cli.comparison.compare import View, show
from wsss.data.readers.voc import VOC_CLASSES
from wsss.errors import ConfigError
from wsss.pipeline.past.stored_studies import find_study
from wsss.report.compare import compare
from wsss.report.comparison import Comparison
from wsss.report.published import FILE, PROTOCOLS, Published, beside_published, publications

VOC = {"dataset": "voc", "root": "/data/VOC2012", "test": {"split": "val"}}
ENTRIES: list[dict[str, Any]] = yaml.safe_load(FILE.read_text())


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path)


def twenty(counts: list[list[int]]) -> list[list[int]]:
    """Confusions of one class among VOC's twenty; the others don't occur."""
    return np.pad(np.array(counts), (0, 19)).tolist()


def trial(storage: Storage, arm: str, method: str, study: str = "made", **pretraining: Any) -> None:
    def scores(counts: list[list[int]], kind: str) -> str:
        return storage.scores([twenty(counts)], kind=kind, classes=VOC_CLASSES)

    keys = {
        "classifier": storage.network(
            "classifier", {"images": 1391}, backbone="resnet50", weights="download"
        ),
        "cams.scores": scores(POOR, "cams"),
        "pseudo_masks.scores": scores(POOR, "pseudo_masks"),
        "walk.scores": scores(FAIR, "pseudo_masks"),
        "segmenter": storage.network("segmenter", pretraining, backbone="resnet101", weights="download"),
        "segmentations.scores": scores(GOOD, "segmentations"),
    }
    storage.trial(arm, None, keys=keys, method=method, study=study)


def found(storage: Storage, *names: str) -> tuple[Comparison, Published]:
    comparison = compare(storage.root, names)
    studies = {name: find_study(name, storage.root) for name in names}
    return comparison, beside_published(comparison, studies, publications())


def test_the_file_holds_what_was_published() -> None:
    """Spot checks against the tables themselves, and what every entry must say."""
    by_name = {entry.method: entry for entry in publications()}
    assert len(by_name) == len(ENTRIES)
    one_seed = {name: dict(entry.scores) for name, entry in by_name.items() if "mva-wsss" in entry.source}
    assert len(one_seed) == 7
    assert one_seed["FMix-CAM"] == {"cam_train": 48.2, "refined_train": 58.4, "segmentation_val": 54.0}
    assert one_seed["Sub-category Teaching"] == {
        "cam_train": 46.4, "refined_train": 55.2, "segmentation_val": 53.0,
    }  # fmt: skip
    assert by_name["FMix-CAM, more images"].images == 10582
    assert by_name["Mixup-CAM, original"].unverified == ("cam_train", "refined_train", "segmentation_test")
    assert all(entry.initial_weights and entry.source and entry.backbone for entry in by_name.values())


def test_what_leads_is_there_with_all_that_it_rests_on() -> None:
    by_name = {entry.method: entry for entry in publications()}
    found = {
        name: (dict(by_name[name].scores), by_name[name].supervision)
        for name in ("CLIP-ES", "CLIP-ES, segmenter from COCO masks", "FMA-WSSS", "ExCEL", "WeCLIP+", "ToCo")
    }
    assert found == {
        "CLIP-ES": (
            {"cam_train": 70.8, "refined_train": 75.0, "segmentation_val": 71.1, "segmentation_test": 71.4},
            ("image", "text"),
        ),
        "CLIP-ES, segmenter from COCO masks": (
            {"segmentation_val": 73.8, "segmentation_test": 73.9},
            ("image", "text", "masks"),
        ),
        "FMA-WSSS": (
            {"refined_trainaug": 73.9, "segmentation_val": 83.1, "segmentation_test": 81.6},
            ("image", "text", "masks"),
        ),
        "ExCEL": ({"segmentation_val": 78.4, "segmentation_test": 78.5}, ("image", "text")),
        "WeCLIP+": ({"segmentation_test": 83.9}, ("image", "text")),
        "ToCo": ({"segmentation_val": 71.1, "segmentation_test": 72.2}, ("image",)),
    }
    assert by_name["ModuSeg"].unverified == ("segmentation_val", "segmentation_test")
    assert by_name["DeepLabv2 with a CRF, trained on masks"].supervision == ("masks",)
    assert {entry.images for entry in by_name.values() if "segmentation_coco_val" in entry.scores} <= {
        82081,
        None,
    }


def test_our_rows_stand_above_publications_of_their_method(storage: Storage) -> None:
    storage.data = VOC
    trial(storage, "patches", "fmix")
    trial(storage, "plain", "cam")
    _, published = found(storage, "made")
    lines = [(line.method, line.own) for line in published.lines]
    assert lines.index(("cam", True)) == lines.index(("CAM", False)) - 1
    assert lines.index(("fmix", True)) == lines.index(("FMix-CAM", False)) - 1
    assert len(lines) == len(ENTRIES) + 2
    own = next(line for line in published.lines if line.method == "fmix")
    assert own.scores["cam_train"] == 0.77, "the threshold was chosen on the masks that are reported"
    assert own.scores["refined_train"] == pytest.approx((80 / 90 + 10 / 20) / 2), (
        "the last masks of the chain"
    )
    assert own.scores["segmentation_val"] == 1
    assert (own.source, own.backbone, own.images) == ("patches", "resnet50, resnet101", 1391)
    assert own.initial_weights == "imagenet (download)"
    assert published.left_out == {}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"dataset": "sample"}, "its data is the drawn sample set, not PASCAL VOC"),
        ({**VOC, "classes": ["cat", "dog"]}, "it has 2 classes, not all 20 of PASCAL VOC"),
        ({**VOC, "limit": 16}, "its lists are cut to 16 images"),
    ],
)
def test_rows_of_another_protocol_are_left_out_and_why_is_said(
    storage: Storage, capsys: pytest.CaptureFixture[str], data: dict[str, Any], reason: str
) -> None:
    storage.data = data
    trial(storage, "plain", "cam")
    comparison, published = found(storage, "made")
    assert not any(line.own for line in published.lines)
    assert len(published.lines) == len(ENTRIES), "the published table is shown all the same"
    for format_ in ("table", "markdown"):
        show(comparison, format_, View.published, published)
        text = capsys.readouterr().out
        assert f"The protocols differ: {reason} (study made)." in text
        assert "61.7" in text and "this storage:" not in text


def test_own_classes_in_a_devkit_folder_are_not_voc(storage: Storage) -> None:
    storage.data = VOC
    storage.trial("plain", storage.scores([FAIR]), method="cam")
    _, published = found(storage, "made")
    assert published.left_out == {"made": "its classes are not PASCAL VOC's"}


def test_of_two_studies_only_the_fitting_one_stands_there(storage: Storage) -> None:
    storage.data = VOC
    trial(storage, "plain", "cam", "whole")
    storage.data = {"dataset": "sample"}
    trial(storage, "plain", "cam", "drawn")
    _, published = found(storage, "whole", "drawn")
    assert [line.source for line in published.lines if line.own] == ["whole: plain"]
    assert list(published.left_out) == ["drawn"]
    assert list(published.scored_on) == ["whole"]


def test_every_format_prints_the_numbers_of_the_file(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    storage.data = VOC
    trial(storage, "plain", "cam")
    trial(storage, "coco", "fmix", initial_weights="coco-segmentation (file x)")
    comparison, published = found(storage, "made")

    show(comparison, "csv", View.published, published)
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    by_name = {line["method"]: line for line in lines}
    for entry in ENTRIES:
        line = by_name[entry["method"]]
        assert {name: float(line[name]) for name in PROTOCOLS if line.get(name)} == {
            name: pytest.approx(value / 100) for name, value in entry["scores"].items()
        }
        texts = [line[name] for name in ("source", "backbone", "initial_weights", "supervision", "images")]
        assert texts == [
            entry["source"],
            entry["backbone"],
            entry["initial_weights"],
            ", ".join(entry["supervision"]),
            str(entry.get("images", "")),
        ]
        assert line["unverified"] == ", ".join(entry.get("unverified", []))
    assert (by_name["cam"]["supervision"], by_name["fmix"]["supervision"]) == ("image", "image, masks")
    train = next(name for name, title in PROTOCOLS.items() if title == "CAM, train")
    assert (by_name["cam"]["source"], by_name["cam"][train]) == ("this storage: plain", "0.77")
    assert by_name["fmix"]["source"] == "this storage: coco"
    assert by_name["fmix"]["pixel_labels"] == "segmenter starts from COCO segmentation weights"

    show(comparison, "markdown", View.published, published)
    text = capsys.readouterr().out
    assert all(
        len(line.split("|")) == len(text.splitlines()[0].split("|"))
        for line in text.splitlines()
        if "|" in line
    )
    assert "| image | 10582 | 50.1? | 61.9? |  | 65.6 | 66.9? |" in text
    assert "?: quoted from memory of the paper, or by a page about it, unverified." in text
    assert "Rows of other supervision are no rivals" in text
    assert "Beside them stands the column `published` of our rows" in text
    assert "Rows of made were scored with image-level labels: half b of train; without labels: val." in text

    show(comparison, "table", View.published, published)
    table = capsys.readouterr().out
    for entry in ENTRIES:
        for name, value in entry["scores"].items():
            assert f"{value:.1f}{'?' if name in entry.get('unverified', []) else ''}" in table
    assert "coco has seen pixel labels!" in table

    show(comparison, "json", View.published, published)
    parsed = json.loads(capsys.readouterr().out)
    assert parsed["rows"], "the comparison itself is there, too"
    shares = {line["method"]: line for line in parsed["published"]["lines"]}
    for entry in ENTRIES:
        assert shares[entry["method"]]["scores"] == {
            name: pytest.approx(value / 100) for name, value in entry["scores"].items()
        }
        assert shares[entry["method"]]["unverified"] == entry.get("unverified", [])
    assert any("chose their threshold on the masks" in note for note in parsed["published"]["notes"])


def test_a_broken_file_is_refused_with_everything_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "published.yaml"
    begin = "rows: [], backbone: b, source: s, images: 1"
    path.write_text(
        f"- {{method: A, {begin}, initial_weights: i, supervision: [image], scores: {{cam_trian: 50}}}}\n"
        f"- {{method: B, {begin}, initial_weights: i, supervision: [image], scores: {{cam_val: 500}}}}\n"
        f"- {{method: C, {begin}, initial_weights: i, supervision: [image], scores: {{cam_val: 50}},"
        " unverified: [cam_train]}\n"
        f"- {{method: D, {begin}, initial_weights: i, scores: {{cam_val: 50}}}}\n"
        f"- {{method: E, {begin}, initial_weights: i, supervision: [], scores: {{cam_val: 50}}}}\n"
        f"- {{method: F, {begin}, initial_weights: i, supervision: [texts], scores: {{cam_val: 50}}}}\n"
        f"- {{method: G, {begin}, initial_weights: COCO (pixel labels!), supervision: [image],"
        " scores: {cam_val: 50}}\n"
    )
    with pytest.raises(ConfigError) as caught:
        publications(path)
    assert [problem.where for problem in caught.value.problems] == [
        f"published.yaml:{n}" for n in (1, 2, 3, 4, 5, 6, 7)
    ]
    messages = [str(problem) for problem in caught.value.problems]
    expected = [
        "there is no protocol 'cam_trian' (did you mean 'cam_train'?)",
        "scores.cam_val: Input should be less than or equal to 100",
        "of which there is no score",
        "supervision: Field required",
        "`supervision` is [], but must name kinds of labels",
        "supervision.0: Input should be 'image', 'text'",
        "`initial_weights` have seen pixel labels! but `supervision` has no masks",
    ]
    for message, part in zip(messages, expected, strict=True):
        assert part in message
