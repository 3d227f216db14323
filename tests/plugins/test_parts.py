"""Parts from outside, one file each: a data set, a searcher, a scheduler, a way to mix."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch

from wsss.config import DataSpec, load_study_text, smoke
from wsss.config.data_set import DATA_SETS, DataSetKind
from wsss.config.params.base import Params
from wsss.config.params.stages import MixingParams, classifier_params
from wsss.config.parts import (
    HIDINGS,
    MIXINGS,
    REGULARISERS,
    HidingParams,
    Regulariser,
    RegulariserParams,
    WayToHide,
    WayToMix,
)
from wsss.config.tuning import SCHEDULERS, SEARCHERS, Scheduler, Searcher
from wsss.data.view import open_data
from wsss.errors import ConfigError
from wsss.methods.hider import Hider
from wsss.methods.mixing import Mixer
from wsss.pipeline.search.trials import sweep_trials
from wsss.tuning.schedulers import make_judge

STUDY = """\
name: parts
data: {dataset: sample, sample: {train: 16, val: 4, size: 64}, holdout: 0, select: {split: train, half: a}, report: {split: train, half: b}}
sweeps:
  - name: cam
    searcher: SEARCHER
    scheduler: SCHEDULER
    search: {lr: {choice: [0.1, 0.2, 0.3]}}
    stages: [classifier: {backbone: efficientnet_lite0, weights: none, epochs: 6, lr: $lr}, cams]
"""


def load(searcher: str = "grid", scheduler: str = "fifo") -> Any:
    text = STUDY.replace("SEARCHER", searcher).replace("SCHEDULER", scheduler)
    return load_study_text(text, source="parts.yaml", base=Path("/"), storage="/tmp/parts")


class Backwards(Searcher):
    """All choices from the last, in runs of `stride`."""

    name: ClassVar[str] = "backwards"
    whole: ClassVar[bool] = True
    kind: Literal["backwards"] = "backwards"
    stride: int = 1

    def draw(self, search: Any, *, samples: int | None, seed: int, name: str) -> list[dict[str, Any]]:
        ((key, values),) = search.items()
        return [{key: value} for value in values.values[:: -self.stride]]


def test_a_searcher_from_outside_draws_and_is_suggested(tmp_path: Path) -> None:
    with SEARCHERS.replaced(Backwards):
        study = load("{kind: backwards, stride: 2}")
        assert study.to_raw()["sweeps"][0]["searcher"] == {"kind": "backwards", "stride": 2}
        data = open_data(study.data, storage=tmp_path)
        trials = sweep_trials(study, study.sweeps[0], (), data)
        assert [trial.info.params["lr"] for trial in trials] == [0.3, 0.1]
        with pytest.raises(ConfigError, match="did you mean 'backwards'"):
            load("backward")
        with pytest.raises(ConfigError, match=r"unknown key `strid` \(did you mean 'stride'\?\)"):
            load("{kind: backwards, strid: 2}")
    with pytest.raises(ConfigError, match="`searcher` is 'backwards'"):
        load("backwards")


class Above:
    """Judges by one bar."""

    def __init__(self, bar: float) -> None:
        self.bar = bar

    def record(self, trial: str, epoch: int, score: float) -> None: ...

    def stops(self, trial: str, epoch: int, score: float) -> bool:
        return score < self.bar


class Bar(Scheduler):
    name: ClassVar[str] = "bar"
    rule: ClassVar[Any] = staticmethod(lambda params, epochs: Above(params.height))
    begins: ClassVar[str] = "first"
    kind: Literal["bar"] = "bar"
    height: float = 0.5
    first: int = 2


def test_a_scheduler_from_outside_judges_and_is_checked() -> None:
    with SCHEDULERS.replaced(Bar):
        study = load(scheduler="{kind: bar, height: 0.25}")
        judge = make_judge(study.sweeps[0].scheduler, 6)
        assert judge.stops("a", 1, 0.2) and not judge.stops("a", 1, 0.3)
        assert smoke(study).sweeps[0].scheduler.first == 1
        with pytest.raises(ConfigError, match="`first` is 9, but the classifier of arm `cam` has 6 epochs"):
            load(scheduler="{kind: bar, first: 9}")
        with pytest.raises(ConfigError, match="did you mean 'bar'"):
            load(scheduler="barr")


class Halves(WayToMix):
    """The left half of one image beside the right half of another."""

    name = "halves"
    alpha = 0.7

    @classmethod
    def shares(cls, params: Any, size: tuple[int, int], weights: Any, rng: Any) -> Any:
        mask = np.zeros((len(weights), *size), np.float32)
        mask[:, :, : size[1] // 2] = 1
        return mask


def test_a_way_to_mix_from_outside_mixes_and_brings_its_alpha() -> None:
    from wsss.config.params.methods import expand_method

    with MIXINGS.replaced(Halves):
        assert expand_method({"mixing": {"kind": "halves"}})["mixing"]["alpha"] == 0.7
        images = torch.arange(2.0)[:, None, None, None].expand(2, 3, 4, 4).clone()
        mixer = Mixer(MixingParams(kind="halves"))
        generator = torch.Generator().manual_seed(0)
        mixed = mixer.mix(images, torch.eye(2), generator)
        assert mixed.weight.tolist() == [0.5, 0.5]
        other = images[mixed.permutation]
        assert torch.equal(mixed.images[..., :2], images[..., :2])
        assert torch.equal(mixed.images[..., 2:], other[..., 2:])
    with pytest.raises(ValueError, match="Input should be 'none'"):
        MixingParams(kind="halves")


class LowerPartParams(HidingParams):
    rows: int = 1


class LowerPart(WayToHide[LowerPartParams]):
    """The lowest rows of an image are hidden."""

    name = "lower_part"
    params = LowerPartParams

    @classmethod
    def hide(cls, params: LowerPartParams, image: Any, rng: Any) -> Any:
        rest = image.clone()
        rest[:, -params.rows :] = 0
        return rest


def test_a_way_to_hide_from_outside_hides_and_is_in_keys_only_while_it_is_on() -> None:
    plain = classifier_params()().content()
    with HIDINGS.replaced(LowerPart):
        model = classifier_params()
        assert model().content() == plain
        on = model.model_validate({"lower_part": {"probability": 1, "rows": 2}})
        assert on.content()["lower_part"] == {"probability": 1, "rows": 2}
        assert on.method_name == "lower_part"
        shown = Hider(on).hide(torch.ones(1, 3, 3, 2), torch.Generator().manual_seed(0))
        assert shown[0, 0].tolist() == [[1, 1], [0, 0], [0, 0]]
        text = STUDY.replace("lr: $lr", "lr: $lr, lower_prt: {rows: 2}")
        text = text.replace("SEARCHER", "grid").replace("SCHEDULER", "fifo")
        with pytest.raises(ConfigError, match=r"`lower_prt` \(did you mean 'lower_part'\?\)"):
            load_study_text(text, source="parts.yaml", base=Path("/"), storage="/tmp/parts")


@pytest.mark.parametrize("taken", ["lr", "mixing", "entropy", "method"])
def test_a_way_to_hide_may_not_take_the_name_of_something_else(taken: str) -> None:
    kind = type("Mine", (WayToHide,), {"name": taken, "params": HidingParams})
    with HIDINGS.replaced(kind), pytest.raises(ConfigError, match=f"Mine can't be named '{taken}'"):
        load()
    bare = type("Bare", (WayToHide,), {"name": "bare", "params": Params})
    with HIDINGS.replaced(bare), pytest.raises(ConfigError, match="has parameters without a probability"):
        load()


class Twice(DataSetKind):
    name = "twice"
    described = "a set of this test"
    needs_root = False
    defaults: ClassVar[dict[str, Any]] = {"holdout": 0.25}

    @classmethod
    def open(cls, spec: Any, storage: Path) -> Any:
        return DATA_SETS["sample"].open(spec, storage)


def test_a_data_set_from_outside_is_opened_and_brings_its_defaults(tmp_path: Path) -> None:
    with DATA_SETS.replaced(Twice):
        spec = DataSpec.model_validate(
            {
                "dataset": "twice",
                "sample": {"train": 16, "val": 4, "size": 64},
                "select": {"split": "train", "half": "a"},
                "report": {"split": "train", "half": "b"},
            }
        )
        data = open_data(spec, storage=tmp_path)
        assert spec.holdout == 0.25 and data.holdout and data.has_masks
        text = STUDY.replace("dataset: sample", "dataset: twise")
        text = text.replace("SEARCHER", "grid").replace("SCHEDULER", "fifo")
        with pytest.raises(ConfigError, match="did you mean 'twice'"):
            load_study_text(text, source="parts.yaml", base=Path("/"), storage="/tmp/parts")


@pytest.mark.parametrize("taken", ["lr", "rung", "masks", "method"])
def test_a_regulariser_may_not_take_the_name_of_something_else(taken: str) -> None:
    kind = type("Mine", (Regulariser,), {"name": taken, "params": RegulariserParams})
    with REGULARISERS.replaced(kind), pytest.raises(ConfigError, match=f"Mine can't be named '{taken}'"):
        load()
    bare = type("Bare", (Regulariser,), {"name": "bare", "params": Params})
    with (
        REGULARISERS.replaced(bare),
        pytest.raises(ConfigError, match="Bare has parameters without a weight"),
    ):
        load()
