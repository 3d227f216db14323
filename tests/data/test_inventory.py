"""What changed of a study's data: classes, photos, labels, masks, lists; told with numbers, read back whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from wsss.config import DataSpec
from wsss.data.readers.inventory import Inventory, changes, read_inventory, take_inventory
from wsss.data.readers.splits import half_of
from wsss.data.view import open_data

A, B = "a" * 12, "b" * 12


def held(*images: tuple[str, str, str, list[int] | None, str | None], classes: str = "cat dog") -> Inventory:
    rows = {id: list(rest) for id, *rest in images}
    return Inventory.model_validate({"classes": classes.split(), "images": rows})


BEFORE = held(("1", "t", A, [0], None), ("2", "tr", A, [1], B), ("3", "x", A, None, B))


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (held(("1", "t", A, [0], None), ("2", "tr", A, [1], B), ("3", "x", A, None, B)), []),
        (
            held(("1", "t", A, [0], None), ("2", "tr", A, [1], B), ("3", "x", A, None, B), classes="kit dog"),
            ["class 'cat' is called 'kit' now"],
        ),
        (  # in alphabetical order the renamed class comes last
            held(("1", "t", A, [1], None), ("2", "tr", A, [0], B), ("3", "x", A, None, B), classes="dog tom"),
            ["class 'cat' is called 'tom' now", "the classes stand in another order"],
        ),
        (
            held(("1", "t", A, [1], None), ("2", "tr", A, [0], B), ("3", "x", A, None, B), classes="dog cat"),
            ["the classes stand in another order"],
        ),
        (
            held(
                *(("1", "t", A, [0, 2], None), ("2", "tr", A, [1], B), ("3", "x", A, None, B)),
                classes="cat dog owl",
            ),
            ["1 class is new (owl)", "1 photo has other labels: 1"],
        ),
        (
            held(("1", "t", A, [], None), ("2", "tr", A, [0], B), ("3", "x", A, None, B), classes="dog"),
            ["1 class is gone (cat)", "1 photo has other labels: 1"],
        ),
        (
            held(("1", "t", B, [0], None), ("2", "tr", A, [0, 1], A), ("4", "t", A, [0], None)),
            [
                "1 photo is new: 4",
                "1 photo is gone: 3",
                "1 photo has changed: 1",
                "1 photo has other labels: 2",
                "1 mask has changed: 2",
            ],
        ),
        (
            held(("1", "tr", A, [0], B), ("2", "t", A, [1], None), ("3", "x", A, None, B)),
            [
                "1 photo is scored by a mask now: 1",
                "1 photo's mask is not used any more: 2",
                "2 photos are in other lists (train, holdout, select, report, test, teach): 1, 2",
            ],
        ),
        (BEFORE.model_copy(update={"imports": (A,)}), ["what other programs made (`import`) has changed"]),
    ],
)
def test_changes_are_told_with_their_number(now: Inventory, told: list[str]) -> None:
    assert changes(BEFORE, now) == told


def test_many_are_counted_and_few_are_named() -> None:
    now = BEFORE.model_copy(
        update={"images": {**BEFORE.images, **{f"n{k}": BEFORE.images["1"] for k in range(12)}}}
    )
    assert changes(BEFORE, now) == ["12 photos are new: n0, n1, n2, 9 more"]


def test_it_reads_back_and_anything_else_counts_as_missing() -> None:
    text = BEFORE.to_json()
    assert read_inventory(text) == BEFORE == read_inventory(text.encode())
    content = json.loads(text)
    wrong: list[object] = [
        *("[1]", "null", "7", "", "{", "\0", text[:-4], b"\xff\xfe", text.encode("utf-16")),
        json.dumps({**content, "version": 2}),
        json.dumps({**content, "more": 1}),
        json.dumps({key: value for key, value in content.items() if key != "classes"}),
        *(json.dumps({**content, "images": {"1": row}}) for row in (
            [], ["t"], ["q", A], ["t", "zz"], ["t", A, [-1], None], ["t", A, ["0"], 3], None, "t",
        )),
    ]  # fmt: skip
    for one in wrong:
        assert read_inventory(one) is None, one  # type: ignore[arg-type]
    assert read_inventory(None) is None


def test_it_holds_what_the_data_hold(tiny_voc: Path, tmp_path: Path) -> None:
    spec = DataSpec.model_validate(
        {
            "root": tiny_voc,
            "holdout": 0,
            "classes": ["cat", "dog", "bus"],
            "select": {"split": "train", "half": "a"},
            "report": {"split": "train", "half": "b"},
            "test": {"split": "val"},
        }
    )

    def take() -> Inventory:
        return take_inventory(open_data(spec, storage=tmp_path))

    first = take()
    assert first.classes == ("bus", "cat", "dog")
    assert set(first.images) == {
        *("2007_000001", "2007_000002", "2007_000003", "x_4"),
        *("2007_000005", "2007_000006"),
    }
    half = "s" if half_of("2007_000003") == "a" else "r"
    assert first.images["2007_000003"].parts == f"t{half}" and first.shown("2007_000003") == {"cat", "dog"}
    unlabelled = {id for id in first.images if first.images[id].parts == "x"}
    assert unlabelled == {"2007_000005", "2007_000006"} and all(first.shown(id) is None for id in unlabelled)
    assert all(one.mask for one in first.images.values())
    assert len(first.to_json()) < 120 * len(first.images)
    assert take() == first and changes(first, take()) == []
    photo = tiny_voc / "JPEGImages/x_4.jpg"
    Image.open(photo).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(photo)
    mask = tiny_voc / "SegmentationClass/2007_000001.png"
    mask.write_bytes((tiny_voc / "SegmentationClass/2007_000005.png").read_bytes())
    annotation = tiny_voc / "Annotations/2007_000002.xml"
    also = "<object><name>cat</name></object></annotation>"
    annotation.write_text(annotation.read_text().replace("</annotation>", also))
    told = changes(first, take())
    assert "1 photo has changed: x_4" in told and "1 photo has other labels: 2007_000002" in told
