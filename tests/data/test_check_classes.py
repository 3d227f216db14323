"""Labels and masks are compared class by class over a data set; `data check` and a study refuse the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from command_line import in_process
from PIL import Image
from tiny_devkit import IDS

import wsss.data.pictures.fingerprint as fingerprint
from wsss.config import DataSpec, SplitSpec
from wsss.data.check import check_lists
from wsss.data.readers.folder import FolderDataset
from wsss.data.readers.voc import VocDataset
from wsss.data.view import DataView, open_data
from wsss.errors import DataError

Draw = Callable[[int, Sequence[str]], "np.ndarray | None"]
CLASSES = ("cat", "dog")


def photos(
    folder: Path, count: int, labels: Callable[[int], Sequence[str]], draw: Draw | None = None
) -> Path:
    """Write photos of 12 by 8 pixels that show what `labels` says, and the masks that `draw` gives."""
    (folder / "masks").mkdir(parents=True)
    rows = ["image,labels"]
    for number in range(count):
        Image.new("RGB", (12, 8), (number % 256, 9, 9)).save(folder / f"p{number}.png")
        names = labels(number)
        rows.append(f"p{number}.png,{';'.join(names)}")
        mask = draw(number, names) if draw else None
        if mask is not None:
            Image.fromarray(mask).save(folder / f"masks/p{number}.png")
    (folder / "labels.csv").write_text("\n".join(rows))
    (folder / "classes.txt").write_text("\n".join(CLASSES))
    return folder


def in_turn(number: int) -> Sequence[str]:
    return ((), ("cat",), ("dog",), ("cat", "dog"))[number % 4]


def mask_of(*ids: int) -> np.ndarray:
    mask = np.zeros((8, 12), np.uint8)
    for place, id in enumerate(ids):
        mask[place] = id
    return mask


def true_mask(_: int, names: Sequence[str]) -> np.ndarray:
    return mask_of(*(CLASSES.index(name) + 1 for name in names), 255)


def opened(root: Path, **keys: object) -> DataView:
    return open_data(DataSpec(dataset="folder", root=root, **keys), storage=root.parent / "runs")  # type: ignore[arg-type]


def refused(root: Path, **keys: object) -> list[str]:
    """Return the problems that stop a study, which are those of `data check`."""
    with pytest.raises(DataError) as caught:
        opened(root, **keys)
    problems = [*map(str, caught.value.problems)]
    masks = root / "masks" if any((root / "masks").iterdir()) else None
    dataset = FolderDataset(root, masks=masks)
    assert sorted(map(str, check_lists(dataset, ["all"]).problems)) == sorted(problems)
    return problems


def test_masks_that_agree(tmp_path: Path) -> None:
    assert opened(photos(tmp_path / "p", 24, in_turn, true_mask)).warnings == ()


def test_masks_of_0_and_255_show_no_class(tmp_path: Path) -> None:
    root = photos(tmp_path / "p", 24, in_turn, lambda number, names: mask_of(255) if names else mask_of())
    problems = refused(root)
    assert len(problems) == 2
    for problem, name, id in zip(problems, CLASSES, (1, 2), strict=True):
        assert (
            f"class {name!r} is named by the labels of 12 images with masks, but no mask shows it" in problem
        )
        assert f"id {id} is in none, and the masks of those images hold 0, 255" in problem
        assert "255 is ignored" in problem
        assert "masks/p" in problem


def test_one_class_with_binary_masks(tmp_path: Path) -> None:
    root = photos(tmp_path / "p", 8, lambda number: ["cat"] * (number % 2), lambda n, names: mask_of(255))
    (root / "classes.txt").write_text("cat\n")
    (problem,) = refused(root)
    assert "class 'cat' is named by the labels of 4 images" in problem and "255 is ignored" in problem


def test_one_class_that_no_mask_shows(tmp_path: Path) -> None:
    root = photos(tmp_path / "p", 24, in_turn, lambda n, names: mask_of(1) if "cat" in names else mask_of())
    (problem,) = refused(root)
    assert "class 'dog' is named by the labels of 12 images" in problem
    assert "draw it as 2, or leave the class out of `data.classes`" in problem
    assert opened(root, classes=("cat",)).dataset.classes == ("cat",)
    assert not opened(root, masks="none").has_masks


def test_a_single_image_without_pixels_is_no_problem(tmp_path: Path) -> None:
    root = photos(tmp_path / "p", 24, in_turn, lambda n, names: mask_of() if n < 8 else true_mask(n, names))
    assert opened(root).warnings == ()


def test_a_class_that_no_label_names(tmp_path: Path) -> None:
    root = photos(tmp_path / "p", 24, in_turn, lambda n, names: mask_of(*true_mask(n, names)[:2, 0], 3))
    (root / "classes.txt").write_text("cat\ndog\nbird\n")
    (problem,) = refused(root)
    assert "24 masks, this one for one, show bird, but no label names it" in problem
    assert "are the classes in the order of their ids in masks?" in problem


def test_ids_beyond_the_classes(tmp_path: Path) -> None:
    root = photos(
        tmp_path / "p", 8, in_turn, lambda n, names: mask_of(3, 200) if n == 5 else true_mask(n, names)
    )
    (problem,) = refused(root)
    assert "masks/p5.png: mask holds the ids 3, 200, but they must be in [0, 2] or 255" in problem
    assert "the data set has 2 classes" in problem


def test_classes_in_the_wrong_order(tmp_path: Path) -> None:
    root = photos(tmp_path / "p", 100, in_turn, true_mask)
    (root / "classes.txt").write_text("dog\ncat\n")
    problems = refused(root)
    assert len(problems) == 2 * 21, "twenty masks of each class, and how many more there are"
    assert all("are the classes in the order of their ids in masks?" in problem for problem in problems)
    assert sum("5 more masks show " in problem for problem in problems) == 2


def test_few_slips_among_many_are_warnings(tmp_path: Path) -> None:
    def draw(number: int, names: Sequence[str]) -> np.ndarray:
        return mask_of(1, 2) if number in (1, 5) else true_mask(number, names)

    root = photos(tmp_path / "p", 100, in_turn, draw)  # 50 masks show dogs rightly, 2 not: 4 %
    warnings = [*map(str, opened(root).warnings)]
    assert len(warnings) == 2
    assert all("mask shows dog, but the annotation does not name it" in warning for warning in warnings)
    root = photos(tmp_path / "q", 60, in_turn, draw)  # 30 and 2: 6 %
    assert len(refused(root)) == 2


def test_masks_without_labels_must_show_something(tiny_voc: Path, tmp_path: Path) -> None:
    halves = {"select": SplitSpec(split="train", half="a"), "report": SplitSpec(split="train", half="b")}
    spec = DataSpec(root=tiny_voc, holdout=0.0, test=SplitSpec(split="val"), **halves)
    assert len(open_data(spec, storage=tmp_path).test) == 2
    for path in (tiny_voc / "SegmentationClass").glob("2007_00000[56].png"):
        Image.fromarray(np.where(np.asarray(Image.open(path)) > 0, 255, 0).astype(np.uint8)).save(path)
    with pytest.raises(
        DataError, match="no class in use is in any of 2 masks without labels: they hold 0, 255"
    ):
        open_data(spec, storage=tmp_path)


def test_a_limit_does_not_hide_where_a_class_is_shown(tmp_path: Path) -> None:
    """Two images are looked at; the class has pixels in others."""
    root = photos(tmp_path / "p", 24, lambda n: ("cat",), lambda n, _: mask_of(1))
    limited = opened(root, limit=1, holdout=0.0)
    used = {*limited.select, *limited.report}
    for id in used:
        Image.fromarray(mask_of(255)).save(root / f"masks/{id}.png")
    assert opened(root, limit=1, holdout=0.0).warnings == ()
    for path in (root / "masks").iterdir():
        Image.fromarray(mask_of(255)).save(path)
    with pytest.raises(DataError, match="class 'cat' is named by the labels of 2 images with masks"):
        opened(root, limit=1, holdout=0.0)


def test_what_was_decoded_once_is_not_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = photos(tmp_path / "p", 24, in_turn, true_mask)
    opened(root)

    def inspect(file: object) -> None:
        raise AssertionError(f"looked at {file}")

    monkeypatch.setattr(fingerprint, "inspect", inspect)
    assert opened(root).has_masks


# Warnings


def test_a_class_that_every_photo_shows_or_none(tmp_path: Path) -> None:
    root = photos(tmp_path / "p", 24, lambda n: ("cat",))
    (root / "masks").rmdir()
    warnings = [*map(str, opened(root, holdout=0.0).warnings)]
    assert len(warnings) == 2
    assert "every one of 24 photos shows cat: a classifier learns nothing of it (add photos" in warnings[0]
    assert "none of 24 photos shows dog: a classifier can't learn it" in warnings[1]
    found = check_lists(FolderDataset(root), ["all"])
    assert [*map(str, found.warnings)] == warnings and found.problems == []
    done = in_process("data", "check", root)
    assert done.returncode == 0 and "warning: " in done.stdout and "shows cat" in done.stdout


def test_doubtful_names_are_told_unless_somebody_has_listed_them(tmp_path: Path) -> None:
    root = photos(tmp_path / "d", 8, lambda number: ((), ("cat",), ("unknown",), ("cat", "0"))[number % 4])
    (root / "masks").rmdir()
    (root / "classes.txt").unlink()
    (warning,) = opened(root).warnings
    assert "labels name '0', 'unknown', so that the data set has classes of that name" in warning.message
    assert "write classes.txt" in warning.hint
    assert check_lists(FolderDataset(root), ["all"]).warnings == [warning]
    assert opened(root, classes=["cat", "unknown", "0"]).warnings == ()
    (root / "classes.txt").write_text("cat\nunknown\n0\n")
    assert opened(root).warnings == ()


def test_one_class_in_use_leaves_no_photo_without_it(tiny_voc: Path, tmp_path: Path) -> None:
    halves = {"select": SplitSpec(split="train"), "report": SplitSpec(split="val")}
    data = open_data(DataSpec(root=tiny_voc, holdout=0.0, classes=("dog",), **halves), storage=tmp_path)
    (warning,) = data.warnings
    assert "every one of 2 photos shows dog" in warning.message
    assert "photos that show none of `data.classes` are left out" in warning.hint


def test_only_photos_that_train_count(tmp_path: Path) -> None:
    root = photos(tmp_path / "p", 24, in_turn, true_mask)
    (root / "cats.txt").write_text("".join(f"p{n}\n" for n in range(24) if n % 4 == 1))
    (warning, other) = opened(root, train="cats", holdout=0.0).warnings
    assert "every one of 6 photos shows cat" in warning.message and "shows dog" in other.message


# Devkits


def test_a_list_for_training_alone_needs_no_masks(tiny_voc: Path) -> None:
    for id in ("2007_000001", "2007_000002", "2007_000003"):
        (tiny_voc / f"SegmentationClass/{id}.png").unlink()
    found = check_lists(VocDataset(tiny_voc), ["train", "val"])
    assert found.problems == []
    assert "list train: 3 of 4 images have no mask: they can train, but not be scored" in str(
        found.warnings[-1]
    )
    (tiny_voc / "SegmentationClass/2007_000005.png").unlink()
    assert [p.message for p in check_lists(VocDataset(tiny_voc), ["train", "val"]).problems] == [
        "file is missing"
    ]


@pytest.mark.parametrize("damage", ["binary", "unnamed", "size", "ending", "missing"])
def test_what_check_refuses_a_study_refuses(damage: str, tiny_voc: Path, tmp_path: Path) -> None:
    masks, notes = tiny_voc / "SegmentationClass", tiny_voc / "Annotations"
    if damage == "binary":
        for path in masks.iterdir():
            Image.fromarray(np.where(np.asarray(Image.open(path)) > 0, 255, 0).astype(np.uint8)).save(path)
    elif damage == "unnamed":
        mask = np.asarray(Image.open(masks / "x_4.png")).copy()
        mask[0, 0] = IDS["cat"]
        Image.fromarray(mask).save(masks / "x_4.png")
    elif damage == "size":
        (notes / "x_4.xml").write_text((notes / "x_4.xml").read_text().replace(">30<", ">31<"))
    elif damage == "ending":
        (masks / "x_4.png").rename(masks / "x_4.tif")
    else:
        (notes / "x_4.xml").unlink()
    spec = DataSpec(
        root=tiny_voc, holdout=0.0, select=SplitSpec(split="train"), report=SplitSpec(split="val")
    )
    with pytest.raises(DataError) as caught:
        open_data(spec, storage=tmp_path)
    found = check_lists(VocDataset(tiny_voc), ["train", "val"]).problems
    assert found
    assert sorted(map(str, caught.value.problems)) == sorted(map(str, found))
