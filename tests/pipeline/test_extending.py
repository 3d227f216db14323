"""More of a finished study under its name: what exists is found, and only what contradicts is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import toy_studies
import yaml

from wsss.config import Study, load_study_text
from wsss.errors import ConfigError
from wsss.pipeline import study as study_module
from wsss.pipeline.past.stored_studies import check_same_content, stored_text
from wsss.store.storage import open_storage

LR = {"lr": {"loguniform": [0.001, 0.1]}}
STAGES = [{"classifier": {"lr": "$lr", "backbone": "efficientnet_lite0"}}, "cams"]


def raw(**changes: Any) -> dict[str, Any]:
    arm = {"search": dict(LR), "samples": 4, "stages": STAGES}
    first = {"name": "cam", "arms": {"a": dict(arm), "b": dict(arm)}, "seeds": [1, 2]}
    again = {"name": "again", "replicate": "cam", "seeds": [1, 2]}
    return {"name": "s", "data": {"dataset": "sample"}, "sweeps": [first, again], **changes}


def load(storage: Path, content: dict[str, Any]) -> Study:
    text = yaml.safe_dump(content, sort_keys=False)
    return load_study_text(text, source="s.yaml", base=Path("/"), storage=str(storage))


def stored(storage: Path, content: dict[str, Any]) -> None:
    study = load(storage, content)
    place = open_storage(storage)
    place.write_study(study.name, stored_text(study, place))
    place.write_note(study.name, "data.json", "{}")  # work has begun


def more_samples(content: dict[str, Any]) -> None:
    for arm in content["sweeps"][0]["arms"].values():
        arm["samples"] = 8


def more_arms(content: dict[str, Any]) -> None:
    arms = content["sweeps"][0]["arms"]
    content["sweeps"][0]["arms"] = {"first": arms["a"], **arms}


def more_seeds(content: dict[str, Any]) -> None:
    content["sweeps"][0]["seeds"] = [3, 1, 2]
    content["sweeps"][1]["seeds"] = [1, 2, 3, 4]


def more_sweeps(content: dict[str, Any]) -> None:
    content["sweeps"].append({"name": "masks", "stages": ["pseudo_masks"]})


def more_kept(content: dict[str, Any]) -> None:
    content["sweeps"][0]["keep"] = 2


def all_of_it(content: dict[str, Any]) -> None:
    for change in (more_samples, more_arms, more_seeds, more_sweeps, more_kept):
        change(content)
    content["budget"] = {"hours": 9}
    content["allow"] = ["unequal_tuning"]
    content["sweeps"][0]["arms"]["a"]["control"] = "b"


@pytest.mark.parametrize(
    "change",
    [more_samples, more_arms, more_seeds, more_sweeps, more_kept, all_of_it],
    ids=lambda f: f.__name__,
)
def test_more_is_no_contradiction(change: Any, tmp_path: Path) -> None:
    stored(tmp_path, raw())
    content = raw()
    change(content)
    check_same_content(load(tmp_path, content))


def fewer_samples(content: dict[str, Any]) -> None:
    for arm in content["sweeps"][0]["arms"].values():
        arm["samples"] = 2


def an_arm_less(content: dict[str, Any]) -> None:
    del content["sweeps"][0]["arms"]["b"]


def another_seed(content: dict[str, Any]) -> None:
    content["sweeps"][0]["seeds"] = [2, 3]


def another_search(content: dict[str, Any]) -> None:
    content["sweeps"][0]["arms"]["b"]["search"] = {"lr": {"loguniform": [0.001, 0.2]}}


def another_stage(content: dict[str, Any]) -> None:
    content["sweeps"][0]["arms"]["b"]["stages"] = [STAGES[0], {"cams": {"flip": False}}]


def a_sweep_between(content: dict[str, Any]) -> None:
    content["sweeps"].insert(1, {"name": "masks", "stages": ["pseudo_masks"]})


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        (fewer_samples, "-.*samples: 4"),
        (an_arm_less, "-.*b:"),
        (another_seed, "-  - 1"),
        (another_search, "0.2"),
        (another_stage, "flip: false"),
        (a_sweep_between, "masks"),
    ],
    ids=lambda f: getattr(f, "__name__", ""),
)
def test_what_contradicts_is_refused_and_shown(change: Any, shown: str, tmp_path: Path) -> None:
    stored(tmp_path, raw())
    content = raw()
    change(content)
    with pytest.raises(ConfigError) as caught:
        check_same_content(load(tmp_path, content))
    assert "another study named 's'" in str(caught.value)
    assert re.search(shown, str(caught.value))


def test_only_what_contradicts_is_shown(tmp_path: Path) -> None:
    stored(tmp_path, raw())
    content = raw()
    more_samples(content)
    another_stage(content)
    with pytest.raises(ConfigError) as caught:
        check_same_content(load(tmp_path, content))
    assert "samples" not in str(caught.value)


def test_a_study_without_seeds_has_run_with_its_own(tmp_path: Path) -> None:
    alone = raw()
    del alone["sweeps"][0]["seeds"]
    stored(tmp_path, alone)
    content = raw()
    content["sweeps"][0]["seeds"] = [0, 1, 2]
    check_same_content(load(tmp_path, content))
    content["sweeps"][0]["seeds"] = [1, 2]
    with pytest.raises(ConfigError, match="another study named"):
        check_same_content(load(tmp_path, content))


def test_what_exists_is_found_and_the_rest_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More samples, an arm and a seed: only what is new is trained, and the table has no seed twice."""
    monkeypatch.setattr(study_module, "check_same_content", lambda *_: None)  # toys can't be read back
    data = toy_studies.install(monkeypatch)
    stages = "stages: [classifier: {lr: $lr, epochs: 2}, cams: {}]"
    arm = f"{{search: {{lr: {{loguniform: [0.001, 0.1]}}}}, samples: %d, {stages}}}"
    before = toy_studies.study(tmp_path, f"name: cam, arms: {{a: {arm % 2}}}")
    toy_studies.run(before, data)
    old = toy_studies.table(before)
    made = len(toy_studies.EPOCHS_MADE)
    assert (len(old), made) == (2, 4)
    after = toy_studies.study(tmp_path, f"name: cam, seeds: [0, 1], arms: {{a: {arm % 3}, b: {arm % 3}}}")
    toy_studies.run(after, data)
    new = toy_studies.table(after)
    assert len(toy_studies.EPOCHS_MADE) - made == 2 * (12 - 2), "two of twelve classifiers were there"
    keys = {values[2]["classifier"] for values in new.values()}
    assert {values[2]["classifier"] for values in old.values()} <= keys
    kept = [values for values in new.values() if values[-1]]
    assert sorted(values[1] for values in kept) == [0, 0, 1, 1], "two seeds of each arm's best"
