from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from wsss.data.sample import data_set as sample
from wsss.data.sample.data_set import SAMPLE_CLASSES, sample_ids, write_sample
from wsss.errors import DataError
from wsss.files import files_below, sha256_file

TRAIN, VAL, SIZE = 20, 5, 96


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample") / "set"
    write_sample(folder, train=TRAIN, val=VAL, size=SIZE)
    return folder


def digest(folder: Path) -> dict[str, str]:
    return {name: sha256_file(folder / name) for name in files_below(folder)}


def ids_of(root: Path, split: str) -> list[str]:
    return (root / "ImageSets" / "Segmentation" / f"{split}.txt").read_text().split()


def array(root: Path, folder: str, one: str) -> np.ndarray:
    end = "jpg" if folder == "JPEGImages" else "png"
    return np.array(Image.open(root / folder / f"{one}.{end}"))


def objects(root: Path, one: str) -> list[tuple[str, list[int]]]:
    tree = ElementTree.parse(root / "Annotations" / f"{one}.xml").getroot()
    found = []
    for item in tree.iter("object"):
        corners = [int(item.findtext(f"bndbox/{key}", "")) for key in ("xmin", "ymin", "xmax", "ymax")]
        found.append((item.findtext("name", ""), corners))
    return found


def test_same_arguments_give_same_bytes(root: Path, tmp_path: Path) -> None:
    write_sample(tmp_path / "again", train=TRAIN, val=VAL, size=SIZE)
    assert digest(tmp_path / "again") == digest(root)


def test_another_seed_gives_other_pictures(root: Path, tmp_path: Path) -> None:
    write_sample(tmp_path / "other", train=3, val=1, size=SIZE, seed=1)
    for one in ids_of(tmp_path / "other", "trainval"):
        name = f"JPEGImages/{one}.jpg"
        assert (tmp_path / "other" / name).read_bytes() != (root / name).read_bytes()


def test_an_id_is_the_same_picture_in_a_smaller_set(root: Path, tmp_path: Path) -> None:
    write_sample(tmp_path / "few", train=2, val=2, size=SIZE)
    for one in ids_of(tmp_path / "few", "trainval"):
        for name in (f"JPEGImages/{one}.jpg", f"Parts/{one}.png", f"Annotations/{one}.xml"):
            assert (tmp_path / "few" / name).read_bytes() == (root / name).read_bytes()


def test_layout_is_that_of_voc(root: Path) -> None:
    train, val = ids_of(root, "train"), ids_of(root, "val")
    assert (tuple(train), tuple(val)) == sample_ids(TRAIN, VAL)
    assert not set(train) & set(val)
    assert ids_of(root, "trainval") == train + val
    assert tuple((root / "classes.txt").read_text().split()) == SAMPLE_CLASSES
    kinds = {"JPEGImages": "jpg", "SegmentationClass": "png", "Annotations": "xml", "Parts": "png"}
    expected = {f"{folder}/{one}.{end}" for folder, end in kinds.items() for one in train + val}
    expected |= {f"ImageSets/Segmentation/{name}.txt" for name in ("train", "val", "trainval")}
    assert set(files_below(root)) == expected | {"classes.txt", "sample.json"}


def test_pictures_masks_and_annotations_agree(root: Path) -> None:
    for one in ids_of(root, "trainval"):
        picture, mask = array(root, "JPEGImages", one), array(root, "SegmentationClass", one)
        assert picture.shape == (*mask.shape, 3)
        assert max(mask.shape) == SIZE
        assert min(mask.shape) >= 0.7 * SIZE
        tree = ElementTree.parse(root / "Annotations" / f"{one}.xml").getroot()
        assert tree.findtext("filename") == f"{one}.jpg"
        assert (tree.findtext("size/height"), tree.findtext("size/width")) == tuple(map(str, mask.shape))
        named = objects(root, one)
        present = {SAMPLE_CLASSES[k - 1] for k in np.unique(mask) if 0 < k < 255}
        assert present == {name for name, _ in named}
        for name in present:
            ys, xs = np.nonzero(mask == SAMPLE_CLASSES.index(name) + 1)
            boxes = np.array([corners for other, corners in named if other == name])
            x0, y0, x1, y1 = boxes.T
            assert ((x0 >= 1) & (y0 >= 1) & (x1 <= mask.shape[1]) & (y1 <= mask.shape[0])).all()
            # Every pixel of a class lies in one of its boxes, and the boxes reach little further.
            inside = (
                (xs[:, None] + 1 >= x0)
                & (xs[:, None] + 1 <= x1)
                & (ys[:, None] + 1 >= y0)
                & (ys[:, None] + 1 <= y1)
            )
            assert inside.any(1).all()
            assert abs(xs.min() + 1 - x0.min()) <= 1
            assert abs(ys.max() + 1 - y1.max()) <= 1


def test_masks_are_palette_images_with_voc_colours(root: Path) -> None:
    for one in ids_of(root, "train"):
        image = Image.open(root / "SegmentationClass" / f"{one}.png")
        assert image.mode == "P"
        palette = image.getpalette()
        assert palette is not None
        # The first colours of the development kit, and that of the void border.
        assert palette[:18] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128, 128, 0, 128]
        assert palette[3 * 255 :] == [224, 224, 192]
        assert set(np.unique(np.array(image))) <= {*range(len(SAMPLE_CLASSES) + 1), 255}


def test_objects_are_surrounded_by_a_thin_border(root: Path) -> None:
    for one in ids_of(root, "train"):
        mask = array(root, "SegmentationClass", one).astype(int)
        for axis in (0, 1):
            a, b = np.moveaxis(mask, axis, 0)[:-1], np.moveaxis(mask, axis, 0)[1:]
            touching = (a != b) & (a != 255) & (b != 255)
            assert not touching.any()
        assert 0.01 < (mask == 255).mean() < 0.25


def test_parts_refine_the_masks(root: Path) -> None:
    heads = []
    for one in ids_of(root, "trainval"):
        mask, parts = array(root, "SegmentationClass", one), array(root, "Parts", one)
        expected = np.where(parts == 255, 255, (parts.astype(int) + 1) // 2)
        np.testing.assert_array_equal(mask, expected)
        for kind in set(np.unique(mask)) - {0, 255}:
            head, rest = (parts == 2 * kind - 1).sum(), (parts == 2 * kind).sum()
            assert head > 0
            assert rest > 0
            heads.append(head / (head + rest))
    assert 0.15 < np.mean(heads) < 0.45


def test_every_class_occurs_and_images_hold_one_to_three_objects(root: Path) -> None:
    counts = [len(objects(root, one)) for one in ids_of(root, "train")]
    assert set(counts) <= {1, 2, 3}
    assert max(counts) > 1
    for five in np.array_split(ids_of(root, "train"), TRAIN // 5):  # any five in a row show all classes
        assert {name for one in five for name, _ in objects(root, one)} == set(SAMPLE_CLASSES)


def test_body_colours_do_not_tell_the_class(root: Path) -> None:
    """Mean body colours differ less between classes than they vary within one."""
    colours: dict[int, list[np.ndarray]] = {}
    for one in ids_of(root, "trainval"):
        picture, parts = array(root, "JPEGImages", one), array(root, "Parts", one)
        for kind in range(1, len(SAMPLE_CLASSES) + 1):
            if (parts == 2 * kind).any():
                colours.setdefault(kind, []).append(picture[parts == 2 * kind].mean(0))
    means = np.array([np.mean(seen, 0) for seen in colours.values()])
    within = np.mean([np.std(seen, 0).mean() for seen in colours.values()])
    assert means.std(0).mean() < within


def test_called_again_it_touches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = {"train": 2, "val": 1, "size": 48}
    write_sample(tmp_path / "set", **arguments)
    monkeypatch.setattr(sample, "make_scene", None)
    write_sample(tmp_path / "set", **arguments)


def test_a_missing_file_or_other_arguments_rewrite_it(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write_sample(root, train=2, val=1, size=48)
    before = digest(root)
    (root / "Parts" / "sample_000002.png").unlink()
    write_sample(root, train=2, val=1, size=48)
    assert digest(root) == before
    write_sample(root, train=1, val=1, size=48)
    assert ids_of(root, "train") == ["sample_000001"]
    assert len(list((root / "JPEGImages").iterdir())) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize("existing", [False, True])
def test_an_interrupted_write_leaves_no_half_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: bool
) -> None:
    root = tmp_path / "set"
    if existing:
        write_sample(root, train=1, val=1, size=48)
    before = digest(root) if existing else {}
    real, calls = sample.make_scene, []

    def failing(*args: object) -> object:
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(sample, "make_scene", failing)
    with pytest.raises(KeyboardInterrupt):
        write_sample(root, train=4, val=1, size=48)
    assert len(calls) == 3
    assert root.exists() == existing
    assert [path.name for path in tmp_path.iterdir()] == (["set"] if existing else [])
    assert digest(root) == before if existing else True


def test_other_files_are_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="not a sample"):
        write_sample(tmp_path / "mine", train=1, val=1, size=48)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_bad_arguments_are_reported_together(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        write_sample(tmp_path / "set", train=0, val=1, size=8)
    assert [problem.message for problem in caught.value.problems] == [
        "`train` is 0, but must be in [1, 99999]",
        "`size` is 8, but must be in [32, 2048]",
    ]
    assert not (tmp_path / "set").exists()
