"""Chains that go on to a segmentation network: scored without labels, on images of their own."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from made_up import FAIR, FAIR_MIOU, GOOD, POOR, POOR_MIOU, Storage

from wsss.cli.comparison.compare import View, show
from wsss.report.compare import compare
from wsss.report.comparison import Network, Protocol

WITHOUT = "with their image-level labels; segmentation: 3 `test` images, without."


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path)


def chain(storage: Storage, counts: list[list[int]], *, segmented: bool = True) -> dict[str, str]:
    """Score CAMs and masks on two images and segmentations on three others; return the keys."""
    keys = {"segmentations.scores": storage.scores([counts] * 3, kind="segmentations")} if segmented else {}
    return {  # in another order than that of the chain, which the table keeps
        **keys,
        "pseudo_masks.scores": storage.scores([counts] * 2, kind="pseudo_masks"),
        "cams.scores": storage.scores([counts] * 2),
    }


def test_a_segmentation_is_scored_without_labels_and_has_no_floor(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    storage.trial("baseline", None, keys=chain(storage, POOR), method="cam")
    storage.trial("fmix", None, keys=chain(storage, FAIR))
    found = compare(storage.root, ["made"])
    assert found.steps == ("cams", "pseudo_masks", "segmentations")
    assert found.protocols == {
        "cams": Protocol("cams", "report", 2, True, 0.25, True),
        "pseudo_masks": Protocol("pseudo_masks", "report", 2, True, 0.25, True),
        "segmentations": Protocol("segmentations", "test", 3, False, None, True),
    }
    cell = found.rows[1].cells["segmentations"]
    assert cell.miou == pytest.approx(FAIR_MIOU)
    assert cell.to_baseline.mean == pytest.approx(FAIR_MIOU - POOR_MIOU)
    assert (cell.threshold, cell.published, cell.select, cell.boundary_f) == (None, None, 0.4, 0.25)
    show(found, "csv")
    floor, _, fmix = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert fmix["segmentation"] == f"{FAIR_MIOU:.6g}"
    assert fmix["segmentation_delta"] == f"{FAIR_MIOU - POOR_MIOU:.6g}"
    assert (floor["segmentation"], floor["cam"], floor["mask"]) == ("", "0.25", "0.25")
    for format_ in ("table", "markdown"):
        show(found, format_)
        assert f"Scored: CAM, mask: 2 `report` images, {WITHOUT}" in capsys.readouterr().out


def test_rows_with_and_without_a_segmentation_stand_together(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    storage.trial("baseline", None, keys=chain(storage, POOR, segmented=False), method="cam")
    storage.trial("fmix", None, keys=chain(storage, GOOD))
    found = compare(storage.root, ["made"])
    assert found.steps == ("cams", "pseudo_masks", "segmentations")
    assert "segmentations" not in found.rows[0].cells
    assert found.rows[1].cells["segmentations"].to_baseline is None
    show(found, "csv")
    _, base, _ = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert base["segmentation"] == ""
    show(found, "csv", View.errors)
    errors = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {(line["arm"], line["step"]) for line in errors} == {
        ("baseline", "cam"), ("baseline", "mask"), ("fmix", "cam"), ("fmix", "mask"), ("fmix", "segmentation"),
    }  # fmt: skip


def test_segmentations_alone_make_a_table(storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    keys = {"segmentations.scores": storage.scores([FAIR], kind="segmentations")}
    storage.trial("baseline", None, keys=keys)
    show(compare(storage.root, ["made"]), "csv")
    (line,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (line["arm"], line["segmentation"]) == ("baseline", f"{FAIR_MIOU:.6g}")
    assert "cam" not in line and not line["segmentation_threshold"]
    show(compare(storage.root, ["made"]), "table")
    text = capsys.readouterr().out
    assert "Floor" not in text and "threshold" not in text


def test_each_step_is_judged_by_its_own_images(storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    """CAMs of both studies are of the same images, segmentations of others."""
    for study, counts, ids in (("one", POOR, ["a", "b"]), ("two", GOOD, ["a", "c"])):
        keys = {
            "cams.scores": storage.scores([counts] * 2),
            "segmentations.scores": storage.scores([counts] * 2, kind="segmentations", ids=ids),
        }
        storage.trial("baseline", None, keys=keys, study=study)
    found = compare(storage.root, ["one", "two"])
    assert {step: found.protocols[step].comparable for step in found.steps} == {
        "cams": True,
        "segmentations": False,
    }
    cells = found.rows[1].cells
    assert cells["cams"].to_baseline.mean == pytest.approx(1 - POOR_MIOU)
    assert cells["segmentations"].to_baseline is None
    show(found, "table")
    assert "segmentation: these rows were NOT all scored on the same images" in capsys.readouterr().out


def networks(storage: Storage, pretraining: str | None = None, **classifier: str) -> dict[str, str]:
    keys = {"classifier": storage.network("classifier", {"images": 31}, **classifier)}
    if pretraining:
        keys["segmenter"] = storage.network(
            "segmenter",
            {"initial_weights": f"{pretraining} (file x.pth, sha256:0)"},
            backbone="resnet101",
            weights="w/x.pth",
        )
    return keys


def test_initial_weights_are_said_once_where_all_rows_share_them(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    for arm in ("baseline", "fmix"):
        storage.trial(arm, None, keys={**networks(storage), "cams.scores": storage.scores([FAIR])})
    found = compare(storage.root, ["made"])
    assert found.rows[0].networks == {
        "classifier": Network("classifier", "efficientnet_lite0", "imagenet (package)")
    }
    assert (found.rows[0].trained_on, found.rows[0].pixel_labels) == (31, ())
    for format_ in ("table", "markdown"):
        show(found, format_)
        text = capsys.readouterr().out
        assert "Initial weights: efficientnet_lite0 from imagenet (package), for all rows." in text
        assert "pixel labels" not in text
    show(found, "csv")
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [line["initial_weights"] for line in lines] == [
        "",
        *["efficientnet_lite0 from imagenet (package)"] * 2,
    ]


@pytest.mark.parametrize(
    ("params", "weights"),
    [
        ({"weights": "none"}, "random"),
        ({"weights": "download", "backbone": "resnet50"}, "imagenet (download)"),
        ({"weights": "download", "backbone": "timm/vit_base_patch16_224"}, "timm (download)"),
        ({"weights": "/somewhere/private/r38.params"}, "unknown (file r38.params)"),
    ],
)
def test_where_weights_come_from(storage: Storage, params: dict[str, str], weights: str) -> None:
    storage.trial("baseline", None, keys=networks(storage, **params))
    (row,) = compare(storage.root, ["made"]).rows
    assert row.networks["classifier"].weights == weights


def test_a_segmenter_that_has_seen_pixel_labels_is_flagged_in_every_format(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    for arm, pretraining in (
        ("baseline", "imagenet (file x.pth)"),
        ("coco", "coco-segmentation (file x.pth)"),
    ):
        storage.trial(arm, None, keys={**networks(storage, pretraining), **chain(storage, FAIR)})
    found = compare(storage.root, ["made"])
    assert [row.pixel_labels for row in found.rows] == [
        (),
        ("segmenter starts from COCO segmentation weights",),
    ]
    for format_ in ("table", "markdown"):
        show(found, format_)
        text = capsys.readouterr().out
        assert "coco has seen pixel labels! Its segmenter starts from COCO segmentation weights." in text
        assert "coco (pixel labels!)" in text
        assert "baseline (pixel labels!)" not in text
        assert "resnet101 from imagenet (file x.pth) (baseline)" in text
        assert "resnet101 from coco-segmentation (file x.pth) (coco)" in text
    show(found, "csv")
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {line["arm"]: line["pixel_labels"] for line in lines[1:]} == {"baseline": "false", "coco": "true"}
    assert "coco-segmentation" in lines[-1]["initial_weights"]
    for view in (View.classes, View.errors):
        show(found, "csv", view)
        lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
        assert {line["arm"]: line["pixel_labels"] for line in lines} == {"baseline": "false", "coco": "true"}
    show(found, "json")
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["pixel_labels"] for row in rows] == [[], ["segmenter starts from COCO segmentation weights"]]
    assert rows[1]["networks"]["segmenter"] == {
        "stage": "segmenter", "backbone": "resnet101", "weights": "coco-segmentation (file x.pth)",
    }  # fmt: skip


def test_a_control_that_is_trained_on_masks_is_flagged_too(storage: Storage) -> None:
    key = storage.network("segmenter", supervision="masks")
    storage.trial("bound", None, keys={**networks(storage), "segmenter": key})
    assert compare(storage.root, ["made"]).rows[0].pixel_labels == ("segmenter is trained on masks",)
