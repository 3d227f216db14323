"""The flat table has a name for every number, and the numbers are those of the comparison."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from made_up import FAIR, FAIR_MIOU, POOR, POOR_MIOU, Storage

from wsss.report.compare import compare
from wsss.report.frame import class_rows, frame_rows


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path)


def test_columns_of_a_step_carry_its_name(storage: Storage) -> None:
    for arm, counts, method in (("baseline", POOR, "cam"), ("fmix", FAIR, "fmix")):
        keys = {"cams.scores": storage.scores([counts] * 2)}
        if arm == "fmix":
            keys["segmentations.scores"] = storage.scores([counts] * 3, kind="segmentations")
        storage.trial(arm, None, keys=keys, method=method)
    found = compare(storage.root, ["made"])
    floor, base, fmix = frame_rows(found)
    assert list(floor) == list(base) == list(fmix), "all rows have all columns"
    assert (floor["arm"], floor["cam"], floor["segmentation"]) == ("floor", 0.25, None)
    assert base["cam"] == pytest.approx(POOR_MIOU) and base["cam_delta"] is None
    assert base["segmentation"] is None
    assert fmix["cam"] == pytest.approx(FAIR_MIOU)
    assert fmix["cam_delta"] == pytest.approx(FAIR_MIOU - POOR_MIOU)
    assert fmix["cam_low"] <= fmix["cam"] <= fmix["cam_high"]
    assert fmix["cam_delta_p"] is None and fmix["cam_delta_stands"] is False, "one seed: not tested"
    assert fmix["cam_threshold"] == found.rows[1].cells["cams"].threshold
    assert json.loads(fmix["params"]) == dict(found.rows[1].params)
    assert fmix["method"] == "fmix" and fmix["seeds"] == 1


def test_without_scores_there_are_rows_still(storage: Storage) -> None:
    storage.trial("baseline", None, keys={}, method="cam")
    (row,) = frame_rows(compare(storage.root, ["made"]))
    assert row["arm"] == "baseline" and "cam" not in row


def test_a_step_with_the_name_of_another_column_takes_none_away(storage: Storage) -> None:
    scores = {name: storage.scores([POOR] * 2) for name in ("cams", "seeds", "arm", "cam_low", "seeds_step")}
    keys = {f"{name}.scores": key for name, key in scores.items()}
    storage.trial("baseline", None, keys=keys, method="cam")
    found = compare(storage.root, ["made"])
    row = frame_rows(found)[-1]
    assert (row["arm"], row["seeds"]) == ("baseline", 1)
    steps = {name for name in row if f"{name}_threshold" in row}
    assert len(steps) == len(found.steps) == 5
    assert all(row[name] == pytest.approx(POOR_MIOU) for name in steps)


def test_a_class_with_the_name_of_another_column_takes_none_away(storage: Storage) -> None:
    storage.trial("baseline", None, keys={"cams.scores": storage.scores([POOR] * 2)}, method="cam")
    found = compare(storage.root, ["made"])
    found = dataclasses.replace(found, per_class=("arm", "step"))
    (row,) = class_rows(found)
    assert (row["arm"], row["step"]) == ("baseline", "cam")
    assert {"arm_class", "step_class"} <= row.keys()
