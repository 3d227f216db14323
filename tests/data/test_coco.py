"""COCO's layout: labels, lists and masks by hand, against pycocotools, and files that are wrong or hostile."""

from __future__ import annotations

import json
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_made_up import CATEGORIES, annotation, box, runs, write_coco, write_instances
from command_line import in_process
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as pycoco
from pycocotools.coco import COCO

from wsss.config import DataSpec
from wsss.data.readers import coco_file, coco_index
from wsss.data.readers.coco import CocoDataset
from wsss.data.readers.coco_masks import draw_mask
from wsss.data.view import open_data
from wsss.errors import ConfigError, DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_coco(tmp_path / "coco")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def one_image(root: Path, *annotations: dict[str, Any], width: int = 8, height: int = 6) -> Path:
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    image = {"id": 5, "file_name": "a.jpg", "width": width, "height": height}
    return write_instances(root, "train2014", [image], list(annotations))


# What is read


def test_classes_are_in_the_order_of_their_numbers_and_lists_have_what_is_annotated(
    root: Path, cache: Path
) -> None:
    dataset = CocoDataset(root, cache=cache)
    assert dataset.classes == ("person", "cat", "dog")
    assert dataset.split_names() == ("train", "val")
    assert dataset.split("train") == tuple(f"COCO_train2014_{n:012d}" for n in range(1, 13))
    assert dataset.split("train2014") == dataset.split("train") and len(dataset.split("val")) == 4
    ids = dataset.split("train")[:3]  # 1 % 3 is a person, 2 % 3 a cat, 0 a dog
    assert dataset.labels(ids).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert dataset.image(ids[0]).size == (64, 48)
    assert dataset.annotation(ids[1]).names == ("cat",) and dataset.annotation(ids[1]).size == (64, 48)
    some = CocoDataset(root, ["dog", "person"], cache=cache)
    assert some.classes == ("person", "dog") and some.labels(ids).tolist() == [[1, 0], [0, 0], [0, 1]]
    assert np.unique(some.mask(ids[1])).tolist() == [0, 255], "pixels of other classes are ignored"
    assert np.unique(some.mask(ids[2])).tolist() == [0, 2]


def test_a_mask_is_that_of_its_outlines_and_small_objects_lie_on_large_ones(
    tmp_path: Path, cache: Path
) -> None:
    crowd = np.zeros((6, 8), bool)
    crowd[4:, 5:] = True
    one_image(
        tmp_path,
        annotation(1, 5, 17, box(1, 1, 5, 4), 12),
        annotation(2, 5, 1, {"size": [6, 8], "counts": runs(crowd)}, 6),
        annotation(3, 5, 18, box(3, 2, 4, 3), 1),
    )
    dataset = CocoDataset(tmp_path, cache=cache)
    assert dataset.mask("a").tolist() == [
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 2, 2, 2, 2, 0, 0, 0],
        [0, 2, 2, 3, 2, 0, 0, 0],
        [0, 2, 2, 2, 2, 0, 0, 0],
        [0, 0, 0, 0, 0, 1, 1, 1],
        [0, 0, 0, 0, 0, 1, 1, 1],
    ]
    assert dataset.labels(["a"]).tolist() == [[1, 1, 1]]


@given(data=st.data())
def test_codes_of_both_kinds_are_decoded_as_pycocotools_does(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    bits = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    mask = np.array(bits).reshape(height, width)
    compressed = pycoco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    for counts in (runs(mask), compressed):
        drawn = draw_mask([(3, 1.0, 7, {"size": [height, width], "counts": counts})], width, height)
        np.testing.assert_array_equal(drawn, 3 * mask)


def test_annotations_are_linked_as_pycocotools_does(root: Path, cache: Path) -> None:
    theirs = COCO(str(root / "annotations/instances_train2014.json"))
    dataset = CocoDataset(root, cache=cache)
    for image in theirs.loadImgs(theirs.getImgIds())[:-1]:
        (only,) = theirs.loadAnns(theirs.getAnnIds(image["id"]))
        id = Path(image["file_name"]).stem
        expected = theirs.annToMask(only) * (1 + [1, 17, 18].index(only["category_id"]))
        np.testing.assert_array_equal(dataset.mask(id), expected)


def test_an_index_is_written_once_and_a_changed_file_gets_another(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = CocoDataset(root, cache=cache)
    first.mask("COCO_val2014_000000001001")
    read: list[Path] = []
    objects = coco_index.objects_of
    monkeypatch.setattr(coco_index, "objects_of", lambda path: read.append(path) or objects(path))  # type: ignore[func-returns-value]
    again = pickle.loads(pickle.dumps(CocoDataset(root, cache=cache)))
    assert not read and again.split("train") == first.split("train")
    assert again.mask_path("COCO_val2014_000000001001").parent.parent.parent == cache
    path = root / "annotations/instances_val2014.json"
    path.write_text(path.read_text().replace('"area": 768', '"area": 7681'))
    CocoDataset(root, cache=cache)
    assert len(read) == 2 and len(list(cache.iterdir())) == 2


def test_a_study_opens_it_and_the_check_finds_nothing_wrong(root: Path, tmp_path: Path) -> None:
    spec = DataSpec.model_validate({"dataset": "coco", "root": root, "test": {"split": "val"}})
    view = open_data(spec, storage=tmp_path / "runs", workers=1)
    assert len(view.train) + len(view.holdout) == 12 and view.has_masks and len(view.test) == 4
    done = in_process("data", "check", root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 problems in 16 images of train, val" in done.stdout and "person 5, cat 6, dog 5" in done.stdout
    assert done.stdout.count("images with masks: 16") == 1
    (root / "train2014/COCO_train2014_000000000003.jpg").unlink()
    Path(root / "val2014/COCO_val2014_000000001002.jpg").write_bytes(b"text")
    wrong = in_process("data", "check", root)
    assert wrong.returncode == 2 and "COCO_train2014_000000000003.jpg: file is missing" in wrong.stdout
    assert "COCO_val2014_000000001002.jpg" in wrong.stdout and "2 problems" in wrong.stdout
    labels = in_process("data", "check", root, "--labels", "a.csv")
    assert labels.returncode == 2 and "is MS COCO, which has its own" in labels.stderr


def test_photos_may_lie_below_images(root: Path, cache: Path) -> None:
    (root / "images").mkdir()
    for name in ("train2014", "val2014"):
        (root / name).rename(root / "images" / name)
    assert CocoDataset(root, cache=cache).image("COCO_val2014_000000001001").size == (64, 48)


# What is refused


def refused(root: Path, cache: Path, *words: str) -> list[str]:
    with pytest.raises(DataError) as caught:
        CocoDataset(root, cache=cache)
    text = [str(problem) for problem in caught.value.problems]
    for word in words:
        assert any(word in one for one in text), text
    assert not cache.exists() or not list(cache.iterdir()), "nothing is left of it"
    return text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["instances_train2014.json: is no valid JSON"]),
        ("[1, 2]", ["holds a list, but must be a file of COCO's instances"]),
        ('{"images": [', ["is no valid JSON"]),
        ('{"images": [1]}', ["`images` holds 1, but must hold objects"]),
        ("{}", ["has no images and no categories"]),
        ('{"images": [], "captions": []}', ["has no images and no categories"]),
        ('{"images": [{"id": 99999999999999999999999999}]}', ["is no valid JSON"]),
        ("\xff\xfe\0{", ["is no valid JSON"]),
        ('{"annotations": [{"id": ' + "[" * 40 + "]" * 40 + "}]}", ["one of its annotations has more than 12 levels"]),
        ('{"info": ' + "[" * 20_000, ["is no valid JSON"]),
    ],
)  # fmt: skip
def test_files_that_are_something_else_get_one_message(
    tmp_path: Path, cache: Path, content: str, words: list[str]
) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/instances_train2014.json").write_text(content, encoding="latin-1")
    assert len(refused(tmp_path, cache, *words)) == 1


def test_all_that_is_wrong_in_a_file_is_said_at_once(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "annotations").mkdir()
    image = {"id": 5, "file_name": "a.jpg", "width": 8, "height": 6}
    images = [
        image,
        {**image, "file_name": "b.jpg"},
        {**image, "id": 6, "file_name": "../c.jpg"},
        {**image, "id": 7, "file_name": "d.jpg", "width": 10**6, "height": 10**6},
        {**image, "id": 8, "file_name": "a.png"},
        {**image, "id": "9"},
    ]
    fine = annotation(1, 5, 17, box(0, 0, 2, 2), 4)
    annotations = [
        fine,
        {**fine, "id": 2, "image_id": 55},
        {**fine, "id": 3, "category_id": 99},
        {**fine, "id": 4, "segmentation": None},
        {**fine, "id": 5, "area": "big"},
        {**fine, "id": True},
    ]
    write_instances(tmp_path, "train2014", images, annotations)
    text = refused(tmp_path, cache)
    expected = [
        "image 5: occurs twice",
        "image 6: `file_name` is '../c.jpg', but must be a bare file name",
        "image 7: is 1000000 × 1000000 pixels",
        "image 8: photo 'a.png' has the name of another",
        "image '9': `id` must be a whole number",
        "annotation 4: `segmentation` is None, but must be polygons or a run-length code",
        "annotation 5: `area` is 'big'",
        "annotation True: `id` is True, but must be a whole number",
        "annotation 2: there is no image 55",
        "annotation 3: there is no category 99",
    ]
    assert len(text) == len(expected)
    for one, part in zip(text, expected, strict=True):
        assert part in one and "instances_train2014.json" in one


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ([], "it has no outline"),
        ([[1, 2, 3, 4]], "must be x and y of three corners or more"),
        ([[1, 2, 3, 4, 5, 6, 7]], "must be x and y of three corners or more"),
        ([["a", 2, 3, 4, 5, 6]], "a corner is at 'a', but must be at a number"),
        ([[1e18, 0, 3, 4, 5, 6]], "a corner is at 1e+18, far outside of 8 × 6 pixels"),
        ({"size": [6, 8], "counts": [10**12]}, "don't add up to the image's 48 pixels"),
        ({"size": [6, 8], "counts": [50, -2]}, "don't add up"),
        ({"size": [6, 8], "counts": [48.0]}, "don't add up"),
        ({"size": [6, 8]}, "its runs None don't add up"),
        ({"size": [10**6, 10**6], "counts": [10**12]}, "its code is of [1000000, 1000000] pixels"),
        ({"size": [6, 8], "counts": "\x7f\x7f"}, "is damaged"),
        ({"size": [6, 8], "counts": "o" * 100}, "is damaged"),
        ({"size": [6, 8], "counts": "0" * 100}, "don't add up"),
    ],
)
def test_outlines_that_can_not_be_drawn_name_their_annotation(
    tmp_path: Path, cache: Path, shape: Any, message: str
) -> None:
    """What pycocotools would crash on, or take gigabytes for, never gets there."""
    path = one_image(tmp_path, annotation(33, 5, 17, shape, 1))
    dataset = CocoDataset(tmp_path, cache=cache)
    with pytest.raises(DataError) as caught:
        dataset.mask("a")
    assert f"{path}, image a: annotation 33: " in str(caught.value) and message in str(caught.value)


def test_memory_stays_with_the_images_not_with_the_file(tmp_path: Path, cache: Path) -> None:
    polygon = [[float(n % 7) for n in range(4000)]]
    path = one_image(tmp_path, *(annotation(n, 5, 17, polygon, n) for n in range(150)))
    assert path.stat().st_size > 2.5e6
    tracemalloc.start()
    CocoDataset(tmp_path, cache=cache)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6, "its 600,000 numbers alone would take 19 MB"


def test_one_annotation_may_not_be_larger_than_outlines_are(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_image(tmp_path, annotation(1, 5, 17, [[0.0] * 2000], 1))
    monkeypatch.setattr(coco_file, "MOST_VALUES", 1000)
    refused(tmp_path, cache, "one of its annotations has more than 1,000 values")
    monkeypatch.setattr(coco_file, "MOST_BYTES", 100)
    refused(tmp_path, cache, "bytes, but may have at most 100")


def test_categories_must_be_those_of_all_files_and_no_more_than_masks_number(root: Path, cache: Path) -> None:
    path = root / "annotations/instances_val2014.json"
    content = json.loads(path.read_text())
    content["categories"][0]["name"] = "wolf"
    path.write_text(json.dumps(content))
    refused(root, cache, "instances_val2014.json: has other categories than the file before it")
    content["categories"] = [*CATEGORIES, CATEGORIES[0], {"id": 4}, {"id": 9, "name": " cat"}]
    path.write_text(json.dumps(content))
    refused(
        root, cache, "category 18: 'dog' occurs twice", "category 4: is named None", "' cat' occurs twice"
    )
    content["categories"] = [{"id": n, "name": f"c{n}"} for n in range(300)]
    path.write_text(json.dumps(content))
    refused(root, cache, "has more than 254 categories")


def test_other_folders_lists_ids_and_classes_are_named(root: Path, cache: Path) -> None:
    with pytest.raises(DataError, match=r"has no annotations/instances_NAME\.json"):
        CocoDataset(root / "train2014", cache=cache)
    dataset = CocoDataset(root, cache=cache)
    with pytest.raises(DataError, match=r"instances_trian\.json: list is missing \(did you mean 'train'\?"):
        dataset.split("trian")
    with pytest.raises(DataError, match=r"no image is named '\.\./x'"):
        dataset.image_path("../x")
    with pytest.raises(ConfigError, match="did you mean 'dog'"):
        CocoDataset(root, ["dgo"], cache=cache)
