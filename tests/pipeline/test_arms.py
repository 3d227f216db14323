"""What an arm is called through several sweeps, and which arm of a sweep a label means."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from wsss.pipeline.search.arms import arm_label, arm_of, comes_from, labels_upto


def sweep(name: str, *arms: str) -> Any:
    return SimpleNamespace(name=name, arms=[SimpleNamespace(name=arm) for arm in arms or (name,)])


def test_named_arms_of_a_later_sweep_are_added_to_the_label() -> None:
    refine, plain = sweep("refine", "crf", "walk"), sweep("masks")
    first = sweep("train", "cam", "mixup").arms[1]
    assert arm_label(refine, first) == "mixup"
    assert [arm_label(refine, arm, "mixup") for arm in refine.arms] == ["mixup+crf", "mixup+walk"]
    assert arm_label(plain, plain.arms[0], "mixup+walk") == "mixup+walk"


def test_a_label_leads_back_to_its_arm() -> None:
    refine, plain = sweep("refine", "crf", "walk"), sweep("masks")
    assert arm_of(refine, "mixup+walk").name == "walk"
    assert arm_of(plain, "mixup+walk").name == "masks"


def test_a_label_comes_from_the_labels_that_it_had_in_earlier_sweeps() -> None:
    assert labels_upto("mixup+walk+net") == ["mixup", "mixup+walk", "mixup+walk+net"]
    assert comes_from("mixup+walk", "mixup")
    assert not comes_from("mixup", "mixup")
    assert not comes_from("mixup2+walk", "mixup")
