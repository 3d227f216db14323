from __future__ import annotations

import hashlib
import itertools
from typing import Any

import pytest

from wsss.config import DataSpec, SplitSpec
from wsss.data.readers.splits import build_splits, drawn_in_turn, first_by_hash, half_of, is_held_out
from wsss.errors import DataError

LISTS = {
    "train": [f"2007_{k:06d}" for k in range(400)],
    "val": [f"2008_{k:06d}" for k in range(100)],
}


def spec(**keys: Any) -> DataSpec:
    keys.setdefault("test", SplitSpec(split="val"))
    return DataSpec(**keys)


def hex_of(id: str) -> str:
    return hashlib.sha256(id.encode()).hexdigest()


def test_half_is_the_lowest_bit_of_the_first_byte() -> None:
    assert hex_of("2007_000032")[:4] == "68be"  # by sha256sum
    assert half_of("2007_000032") == "a"
    for id in LISTS["train"]:
        assert half_of(id) == ("a" if hex_of(id)[1] in "02468ace" else "b")


def test_holdout_is_decided_by_the_second_byte() -> None:
    for id in LISTS["train"]:
        byte = int(hex_of(id)[2:4], 16)
        assert is_held_out(id, 0.25) == (byte < 64)
        assert not is_held_out(id, 0.0)
        assert is_held_out(id, 1.0)


def test_every_image_has_its_place() -> None:
    splits = build_splits(spec(holdout=0.2), LISTS.__getitem__)
    assert set(splits.train) | set(splits.holdout) == set(LISTS["train"])
    assert not set(splits.train) & set(splits.holdout)
    assert 0.1 < len(splits.holdout) / 400 < 0.3
    assert set(splits.select) | set(splits.report) == set(LISTS["train"])
    assert not set(splits.select) & set(splits.report)
    assert splits.test == tuple(LISTS["val"])
    assert splits.all_ids == tuple(LISTS["train"] + LISTS["val"])
    assert set(splits.masked_ids) == set(LISTS["train"] + LISTS["val"])


def test_places_do_not_depend_on_the_list() -> None:
    whole = build_splits(spec(holdout=0.2), LISTS.__getitem__)
    some = {**LISTS, "train": LISTS["train"][::-3]}
    part = build_splits(spec(holdout=0.2), some.__getitem__)
    assert set(part.holdout) == set(whole.holdout) & set(some["train"])
    assert set(part.select) == set(whole.select) & set(some["train"])


def test_limit_takes_the_first_by_hash() -> None:
    splits = build_splits(spec(limit=16), LISTS.__getitem__)
    assert all(len(ids) <= 16 for ids in (splits.train, splits.holdout, splits.select, splits.report))
    kept = sorted((id for id in LISTS["train"] if not is_held_out(id, 0.05)), key=hex_of)[:16]
    assert splits.train == tuple(sorted(kept))
    assert first_by_hash(LISTS["val"], None) == tuple(LISTS["val"])


def test_no_test_list() -> None:
    assert build_splits(spec(test=None), LISTS.__getitem__).test == ()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"report": SplitSpec(split="train")}, r"data\.select: shares \d+ images with `report`"),
        ({"test": SplitSpec(split="train", half="a")}, "data.test: shares .* with `select`"),
        ({"train": "val"}, "data.test: shares 100 images with `train`, 2008_000000 for one"),
    ],
)
def test_images_that_must_not_be_shared(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        build_splits(spec(**keys), LISTS.__getitem__)


def test_two_lists_that_share_images() -> None:
    lists = {**LISTS, "other": LISTS["train"][:1]}
    both = spec(select=SplitSpec(split="other"), report=SplitSpec(split="train"))
    with pytest.raises(DataError, match="shares 1 images with `report`"):
        build_splits(both, lists.__getitem__)


def test_nothing_left() -> None:
    lists = {**LISTS, "train": [id for id in LISTS["train"] if half_of(id) == "a"]}
    with pytest.raises(DataError, match=r"data\.report: no image is left in train"):
        build_splits(spec(), lists.__getitem__)


def test_a_study_may_ask_for_what_is_refused() -> None:
    lists = {"train": ["a", "b", "c", "d"], "trainval": ["a", "b", "c", "d", "v"], "val": ["v"]}
    keys: dict[str, Any] = {
        "train": "trainval", "holdout": 0, "select": {"split": "train"}, "report": {"split": "train"}, "test": {"split": "val"},
    }  # fmt: skip
    with pytest.raises(DataError) as caught:
        build_splits(DataSpec.model_validate(keys), lists.__getitem__)
    assert {problem.where for problem in caught.value.problems} == {"data.select", "data.test"}
    allowed = DataSpec.model_validate({**keys, "allow": ["select_on_report", "train_on_test"]})
    splits = build_splits(allowed, lists.__getitem__)
    assert splits.select == splits.report == ("a", "b", "c", "d")
    assert splits.test == ("v",) and "v" in splits.train


def test_images_whose_masks_teach_leave_what_is_scored_and_go_on_training() -> None:
    half = SplitSpec(split="train", half="a")
    plain = build_splits(spec(select=half), LISTS.__getitem__)
    listed = {**LISTS, "drawn": [*plain.select[:10], *plain.report[:5]]}
    splits = build_splits(spec(teach=SplitSpec(split="drawn")), listed.__getitem__)
    assert set(splits.teach) == set(listed["drawn"])
    assert set(splits.select) == set(plain.select[10:]) and set(splits.report) == set(plain.report[5:])
    assert (splits.train, splits.holdout, splits.test) == (plain.train, plain.holdout, plain.test)
    assert set(splits.teach) < set(splits.masked_ids)
    with pytest.raises(DataError, match="no image is left in val"):
        build_splits(spec(teach=SplitSpec(split="val")), LISTS.__getitem__)
    with pytest.raises(DataError, match=r"data\.teach: no image is left in drawn"):
        build_splits(spec(teach=SplitSpec(split="drawn")), {**LISTS, "drawn": []}.__getitem__)


def in_turn(ids: list[str], classes: list[list[int]], count: int, seed: int) -> list[str]:
    """The same, spelt out: classes take turns, each with a list of its own to go down."""
    shuffled = sorted(ids, key=lambda id: hashlib.sha256(f"{seed}:{id}".encode()).hexdigest())
    shows = dict(zip(ids, classes, strict=True))
    taken: list[str] = []
    while len(taken) < min(count, len(ids)):
        before = len(taken)
        for wanted in [*sorted({k for shown in classes for k in shown}), None]:
            for id in shuffled:
                if id not in taken and (wanted in shows[id] or (wanted is None and not shows[id])):
                    taken.append(id)
                    break
            if len(taken) == count:
                return taken
        assert len(taken) > before
    return taken


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_few_masks_are_drawn_in_turn_and_fewer_are_among_more(seed: int) -> None:
    ids = [f"photo{k}" for k in range(23)]
    classes = [[k % 3] if k % 5 else [] if k % 2 else [1, 2] for k in range(23)]
    draws = [drawn_in_turn(ids, classes, count, seed) for count in range(1, 30)]
    for count, draw in enumerate(draws, start=1):
        assert list(draw) == in_turn(ids, classes, count, seed)
    assert all(one == more[: len(one)] for one, more in itertools.pairwise(draws))
    assert sorted(draws[-1]) == sorted(ids)
    assert draws[5] != drawn_in_turn(ids, classes, 6, seed + 1)


def test_of_every_class_as_many_masks_are_drawn() -> None:
    ids = [f"photo{k}" for k in range(200)]
    classes = [[k % 5] if k < 180 else [0, 1] for k in range(200)]
    drawn = drawn_in_turn(ids, classes, 25, seed=3)
    shown = [classes[ids.index(id)] for id in drawn]
    assert [sum(k in one for one in shown[k::5]) for k in range(5)] == [5] * 5
