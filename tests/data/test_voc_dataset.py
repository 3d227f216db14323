from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss.data.check import check_lists
from wsss.data.readers.voc import VOC_CLASSES, VocDataset
from wsss.errors import ConfigError, DataError

BOMB = """<?xml version="1.0"?>
<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;&b;"><!ENTITY d "&c;&c;&c;&c;">]>
<annotation><object><name>&d;</name></object></annotation>"""


def test_voc_has_twenty_classes_in_alphabetical_order() -> None:
    assert len(VOC_CLASSES) == 20
    assert list(VOC_CLASSES) == sorted(VOC_CLASSES)


def test_lists_images_labels_and_masks(tiny_voc: Path) -> None:
    dataset = VocDataset(tiny_voc)
    assert dataset.split_names() == ("train", "val")
    assert dataset.split("val") == ("2007_000005", "2007_000006")
    assert dataset.image("x_4").mode == "RGB"
    assert dataset.image("x_4").size == (40, 30)
    labels = dataset.labels(["2007_000003", "x_4"])
    assert labels.dtype == np.uint8
    assert [np.flatnonzero(row).tolist() for row in labels] == [[7, 11], [5]]
    mask = dataset.mask("2007_000003")
    assert (mask.dtype, mask.shape) == (np.uint8, (30, 40))
    assert np.unique(mask).tolist() == [0, 8, 12, 255]  # palette indices, not colours


def test_some_classes_renumbers_them_and_ignores_other_objects(tiny_voc: Path) -> None:
    whole = VocDataset(tiny_voc).mask("2007_000003")
    dataset = VocDataset(tiny_voc, ["dog", "bus"])
    assert dataset.classes == ("bus", "dog")
    mask = dataset.mask("2007_000003")
    assert (mask[whole == 12] == 2).all()
    assert (mask[whole == 8] == 255).all()
    assert (mask[whole == 0] == 0).all()
    assert (mask[whole == 255] == 255).all()
    assert dataset.labels(["2007_000003", "2007_000006"]).tolist() == [[0, 1], [1, 1]]


def test_class_names_come_from_the_folder(tiny_voc: Path) -> None:
    (tiny_voc / "classes.txt").write_text("\n".join(["zebu", *VOC_CLASSES]) + "\n")
    dataset = VocDataset(tiny_voc, ["bottle", "cat"])  # what VOC calls cat (8) is bottle's neighbour here
    assert dataset.known_classes[0] == "zebu"
    assert dataset.class_ids == {6: 1, 9: 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cat\ncat\n", "occurs twice"),
        ("\n", "names 0 classes"),
        ("background\ncat\n", "foreground classes only"),
    ],
)
def test_bad_class_names(tiny_voc: Path, text: str, message: str) -> None:
    (tiny_voc / "classes.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        VocDataset(tiny_voc)


def test_unknown_class_asked_for(tiny_voc: Path) -> None:
    with pytest.raises(ConfigError, match=r"class is 'doge'.*did you mean 'dog'\?"):
        VocDataset(tiny_voc, ["cat", "doge"])


def test_folder_that_is_no_devkit(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lacks JPEGImages, Annotations, SegmentationClass, ImageSets/Seg"):
        VocDataset(tmp_path)


def test_devkit_one_level_too_high(tiny_voc: Path, tmp_path: Path) -> None:
    (tmp_path / "up/VOCdevkit").mkdir(parents=True)
    tiny_voc.rename(tmp_path / "up/VOCdevkit/VOC2012")
    with pytest.raises(DataError, match=r"did you mean .*VOCdevkit/VOC2012\?"):
        VocDataset(tmp_path / "up")


def test_missing_list_names_those_that_exist(tiny_voc: Path) -> None:
    with pytest.raises(
        DataError, match=r"Segmentation/trian.txt: list is missing \(did you mean 'train'.*val"
    ):
        VocDataset(tiny_voc).split("trian")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("../../etc/passwd\n", "must be a bare file name"),
        ("a/b\n", "must be a bare file name"),
        ("..\n", "must be a bare file name"),
        ("x_4\nx_4\n", "'x_4' occurs twice"),
        ("\n \n", "list is empty"),
    ],
)
def test_bad_lists(tiny_voc: Path, text: str, message: str) -> None:
    (tiny_voc / "ImageSets/Segmentation/bad.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        VocDataset(tiny_voc).split("bad")


def test_no_path_leads_out_of_the_folder(tiny_voc: Path) -> None:
    with pytest.raises(DataError, match="bare file name"):
        VocDataset(tiny_voc).image("../secret")
    with pytest.raises(DataError, match="list is missing"):
        VocDataset(tiny_voc).split("../Segmentation/train")


def test_unknown_class_in_an_annotation(tiny_voc: Path) -> None:
    for id, name in (("x_4", "buss"), ("2007_000001", "cta")):
        (tiny_voc / f"Annotations/{id}.xml").write_text(f"<a><object><name>{name}</name></object></a>")
    with pytest.raises(DataError) as caught:
        VocDataset(tiny_voc).labels(["x_4", "2007_000001"])
    assert [Path(problem.where).name for problem in caught.value.problems] == ["x_4.xml", "2007_000001.xml"]
    assert "class is 'buss'" in str(caught.value)
    assert "did you mean 'bus'?" in str(caught.value)


def test_a_devkit_of_other_classes_needs_their_names(tiny_voc: Path) -> None:
    for path in (tiny_voc / "Annotations").glob("*.xml"):
        path.write_text(path.read_text().replace("cat", "fox").replace("dog", "wolverine"))
    ids = ["2007_000001", "2007_000003", "x_4"]
    with pytest.raises(DataError) as caught:
        VocDataset(tiny_voc).labels(ids)
    (problem,) = caught.value.problems
    assert problem.where == str(tiny_voc / "classes.txt")
    assert "is missing, so the classes are PASCAL VOC's, but the annotations name 2 others" in problem.message
    assert "'fox' in 2007_000001.xml for one" in problem.message
    assert problem.hint.endswith("the annotations name bus, fox, wolverine")
    assert [p.where for p in check_lists(VocDataset(tiny_voc), ["train", "val"]).problems] == [problem.where]
    (tiny_voc / "classes.txt").write_text("bus\nfox\nwolverine\n")
    assert VocDataset(tiny_voc).labels(ids).tolist() == [[0, 1, 0], [0, 1, 1], [1, 0, 0]]
    assert len(check_lists(VocDataset(tiny_voc), ["train"]).problems) == 4, "masks still hold VOC's ids"


def test_a_devkit_without_photos_may_be_a_folder(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"for a folder of photos with a table of labels say `dataset: folder`"
    ):
        VocDataset(tmp_path)


def test_difficult_objects_count_and_parts_do_not(tiny_voc: Path) -> None:
    text = """<annotation><object><name>cat</name><difficult>1</difficult>
        <part><name>head</name></part></object><object><name>cat</name></object></annotation>"""
    (tiny_voc / "Annotations/x_4.xml").write_text(text)
    assert np.flatnonzero(VocDataset(tiny_voc).labels(["x_4"])[0]).tolist() == [7]


@pytest.mark.parametrize(
    ("text", "message"), [(BOMB, "declares XML entities, which is refused"), ("<annotation>", "no valid XML")]
)
def test_hostile_and_broken_annotations(tiny_voc: Path, text: str, message: str) -> None:
    (tiny_voc / "Annotations/x_4.xml").write_text(text)
    with pytest.raises(DataError, match=rf"x_4\.xml: annotation.*{message}"):
        VocDataset(tiny_voc).labels(["x_4"])


def test_missing_annotation(tiny_voc: Path) -> None:
    (tiny_voc / "Annotations/x_4.xml").unlink()
    with pytest.raises(DataError, match=r"x_4\.xml: file is missing"):
        VocDataset(tiny_voc).labels(["x_4"])


def test_truncated_photo(tiny_voc: Path) -> None:
    path = tiny_voc / "JPEGImages/x_4.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"x_4\.jpg: photo can't be decoded: .*truncated"):
        VocDataset(tiny_voc).image("x_4")


def test_truncated_mask(tiny_voc: Path) -> None:
    path = tiny_voc / "SegmentationClass/x_4.png"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"x_4\.png: mask can't be decoded"):
        VocDataset(tiny_voc).mask("x_4")


def test_masks_in_colour_and_with_foreign_ids_are_refused(tiny_voc: Path) -> None:
    path = tiny_voc / "SegmentationClass/x_4.png"
    Image.open(path).convert("RGB").save(path)
    with pytest.raises(DataError, match="mask's mode is RGB, but must be P or L"):
        VocDataset(tiny_voc).mask("x_4")
    Image.fromarray(np.full((30, 40), 21, np.uint8)).save(path)
    with pytest.raises(DataError, match=r"mask holds the ids 21, but they must be in \[0, 20\] or 255"):
        VocDataset(tiny_voc).mask("x_4")


def test_travels_to_other_processes(tiny_voc: Path) -> None:
    dataset = VocDataset(tiny_voc, ["dog"])
    dataset.labels(["2007_000003"])
    twin = pickle.loads(pickle.dumps(dataset))
    assert twin.labels(["2007_000003"]).tolist() == [[1]]
    assert np.array_equal(twin.mask("2007_000003"), dataset.mask("2007_000003"))


# Real photos


def _official(root: Path, split: str) -> tuple[list[str], np.ndarray]:
    folder = root / "ImageSets/Official"
    if not folder.is_dir():
        pytest.skip(f"no official lists in {folder}")
    with np.load(folder / "image_level_labels.npz", allow_pickle=False) as table:
        rows = dict(zip(table["ids"].tolist(), table["labels"], strict=True))
    ids = (folder / f"{split}.txt").read_text().split()
    return ids, np.stack([rows[id] for id in ids])


PUBLISHED = {  # images, labels, labels per class
    "train": (
        1464,
        2171,
        [88, 65, 105, 78, 87, 78, 128, 131, 148, 64, 82, 121, 68, 81, 442, 82, 63, 93, 83, 84],
    ),
    "val": (
        1449,
        2147,
        [90, 79, 103, 72, 96, 74, 127, 119, 123, 71, 75, 128, 79, 76, 445, 85, 57, 90, 84, 74],
    ),
    "train_aug": (
        10582,
        16458,
        [
            590,
            504,
            705,
            468,
            714,
            393,
            1150,
            1005,
            1228,
            267,
            613,
            1188,
            445,
            492,
            4155,
            522,
            300,
            649,
            503,
            567,
        ],
    ),
}


@pytest.mark.parametrize("split", PUBLISHED)
def test_official_totals(voc_root: Path, split: str) -> None:
    ids, labels = _official(voc_root, split)
    images, total, per_class = PUBLISHED[split]
    assert (len(ids), len(set(ids)), labels.sum()) == (images, images, total)
    assert labels.sum(axis=0).tolist() == per_class
    assert labels.any(axis=1).all()


def test_augmented_list_and_val_are_disjoint(voc_root: Path) -> None:
    augmented, _ = _official(voc_root, "train_aug")
    val, _ = _official(voc_root, "val")
    train, _ = _official(voc_root, "train")
    assert not set(augmented) & set(val)
    assert set(train) < set(augmented)


def test_annotations_agree_with_the_official_labels(voc_root: Path) -> None:
    dataset = VocDataset(voc_root)
    for split in ("train", "val"):
        ids, labels = _official(voc_root, split)
        here = dataset.split(split)
        row = {id: index for index, id in enumerate(ids)}
        assert np.array_equal(dataset.labels(here), labels[[row[id] for id in here]])
