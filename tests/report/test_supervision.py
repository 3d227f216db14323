"""What rows rest on, how they are grouped by it, and how differences across groups are marked."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_up import FAIR, GOOD, POOR, Storage

from wsss.cli.comparison.compare import show
from wsss.config.params.supervision import of_timm, ordered
from wsss.report.compare import compare


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path)


def trial(storage: Storage, arm: str, report: Any, *networks: str, **fields: Any) -> None:
    for seed in (1, 2):
        keys = {f"stage{n}": key for n, key in enumerate(networks)}
        id = f"cam-{arm}-000"
        own = {"id": f"{id}-s{seed}", "configuration": id, "seed": seed}
        storage.trial(arm, None, keys={**keys, "cams.scores": storage.scores(report)}, **own, **fields)


def rests_on(storage: Storage) -> dict[str, tuple[str, ...]]:
    return {row.arm: row.supervision for row in compare(storage.root, ["made"]).rows}


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ({"stage": "classifier"}, ("image",)),
        ({"stage": "classifier", "weights": "none"}, ("image",)),
        ({"stage": "classifier", "supervision": "masks"}, ("image", "masks")),
        ({"stage": "classifier", "supervision": "masks", "weights": "none"}, ("masks",)),
        ({"stage": "classifier", "backbone": "timm/vit_base_patch16_clip_224.openai"}, ("image", "text")),
        ({"stage": "classifier", "backbone": "timm/vit_base_patch14_dinov2"}, ("image", "self")),
        (
            {"stage": "classifier", "backbone": "timm/vit_base_patch16_224.augreg_in21k"},
            ("image", "image-21k"),
        ),
        ({"stage": "classifier", "weights": "x.pth"}, ("image", "unknown")),
        (
            {
                "stage": "segmenter",
                "weights": "x.pth",
                "summary": {"initial_weights": "coco-segmentation (x)"},
            },
            ("image", "masks"),
        ),
        ({"stage": "segmenter", "supervision": "masks", "weights": "none"}, ("masks",)),
    ],
)
def test_stages_and_weights_tell(
    storage: Storage, network: dict[str, Any], expected: tuple[str, ...]
) -> None:
    given = dict(network)
    trial(storage, "a", [FAIR], storage.network(given.pop("stage"), given.pop("summary", None), **given))
    assert rests_on(storage) == {"a": expected}


def test_parts_and_networks_of_plugins_say_what_they_rest_on(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wsss.config.parts import REGULARISERS
    from wsss.models.kind import BACKBONES

    monkeypatch.setattr(REGULARISERS["entropy"], "rests_on", ("text",))
    monkeypatch.setattr(BACKBONES["mobilenet_v2"], "rests_on", ("image", "masks"))
    monkeypatch.setattr(BACKBONES["resnet50"], "rests_on", None)
    for arm, given in {
        "plain": {"entropy": {"weight": 0.0}},
        "texts": {"entropy": {"weight": 0.02}},
        "theirs": {"backbone": "mobilenet_v2"},
        "nobody": {"backbone": "resnet50"},
    }.items():
        trial(storage, arm, [FAIR], storage.network("classifier", **given))
    assert rests_on(storage) == {
        "plain": ("image",),
        "texts": ("image", "text"),
        "theirs": ("image", "masks"),
        "nobody": ("image", "unknown"),
    }
    rows = {row.arm: row for row in compare(storage.root, ["made"]).rows}
    assert rows["theirs"].networks["stage0"].weights == "its own (package)", "nobody says imagenet"
    assert rows["theirs"].pixel_labels == ("stage0 starts from weights that have learnt from masks",)


def test_a_stage_of_a_plugin_that_brings_in_masks_is_marked(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wsss.config.stage import STAGES

    monkeypatch.setattr(STAGES["pseudo_masks"], "rests_on", ("masks",))
    trial(storage, "a", [FAIR], storage.network("pseudo_masks"))
    (row,) = compare(storage.root, ["made"]).rows
    assert row.pixel_labels == ("stage0 is trained on masks",)


def declare(storage: Storage, **labels: list[Any]) -> None:
    arms = {
        arm: {"stages": ["classifier", "cams"], **({"supervision": given} if given else {})}
        for arm, given in labels.items()
    }
    study = {"name": "made", "data": {"dataset": "sample"}, "sweeps": [{"name": "cam", "arms": arms}]}
    study |= {"seed": 0, "retain": "kept", "tracking": {"uri": None}}
    (storage.root / "studies" / "made" / "study.yaml").write_text(yaml.safe_dump(study))


def test_what_an_arm_declares_is_added_and_answers_what_is_unknown(storage: Storage) -> None:
    trial(storage, "theirs", [FAIR], storage.network("classifier", weights="x.pth"))
    trial(storage, "plain", [FAIR], storage.network("classifier"))
    declare(storage, theirs=["image", "text", {"masks": 25}], plain=[])
    assert rests_on(storage) == {"theirs": ("image", "text", "masks: 25"), "plain": ("image",)}


def test_rows_are_grouped_and_differences_across_groups_are_marked(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    trial(storage, "baseline", [POOR] * 6, storage.network("classifier"))
    trial(storage, "full", [GOOD] * 6, storage.network("classifier", supervision="masks"))
    trial(storage, "fmix", [FAIR] * 6, storage.network("classifier"))
    found = compare(storage.root, ["made"])
    assert [row.arm for row in found.rows] == ["baseline", "fmix", "full"], "what is alike stands together"
    _, fmix, full = found.rows
    assert not fmix.cells["cams"].to_baseline.across
    assert full.cells["cams"].to_baseline.across
    show(found, "csv")
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [line["supervision"] for line in lines] == ["", "image", "image", "image, masks"]
    assert [line["cam_delta_across"] for line in lines] == ["", "", "false", "true"]
    assert [line["cam_delta_stands"] for line in lines] == ["", "", "true", "true"]
    for format_ in ("table", "markdown"):
        show(found, format_)
        text = capsys.readouterr().out
        assert "†: between rows of different supervision" in text
    show(found, "json")
    assert json.loads(capsys.readouterr().out)["rows"][2]["supervision"] == ["image", "masks"]


def test_where_all_rows_rest_on_the_same_one_sentence_says_so(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    trial(storage, "baseline", [FAIR], storage.network("classifier"))
    show(compare(storage.root, ["made"]), "markdown")
    text = capsys.readouterr().out
    assert "Supervision: image, for all rows." in text
    assert "†" not in text
    show(compare(storage.root, ["made"]), "csv")
    assert "supervision" in capsys.readouterr().out.splitlines()[0]


def test_more_of_a_kind_stands_for_fewer_of_it() -> None:
    assert ordered(["masks", "masks: 25", "text", "image"]) == ("image", "text", "masks")


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("timm/resnet50.tv_in1k", "image"), ("timm/resnet50", "unknown"), ("timm/samvit_base_patch16.sa1b", "masks"),
        ("timm/beitv2_base_patch16_224.in1k_ft_in22k", "text"), ("timm/eva02_base_patch14_224.mim_in22k", "text"),
        ("timm/vit_base_patch16_siglip_224", "text"), ("timm/swin_base.ms_in22k", "image-21k"),
        ("timm/vit_small_patch16_224.dino", "self"), ("timm/convnext_base.clip_laion2b", "text"),
    ],
)  # fmt: skip
def test_names_of_timm_tell_what_they_have_learnt_from(name: str, label: str) -> None:
    assert of_timm(name) == label
