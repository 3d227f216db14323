"""A study as the rest of the program sees it: checked, resolved, immutable."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from wsss.config.data_set import DATA_SETS, DataSetName
from wsss.config.params.base import Folder, Params, PositiveFloat, PositiveInt, Seed, Word
from wsss.config.paths import absolute
from wsss.config.search import Distribution, Scalar
from wsss.config.text.location import Location
from wsss.config.tuning import Fifo, RandomSearch, Scheduler, Searcher, StopRule, raw_kind

LONGEST_NAME = 120
"""Bytes of a study's, sweep's, arm's or stage's name: folders and trials are named after them."""


def is_name(word: object) -> bool:
    """Whether a study, sweep, arm or stage may have this name."""
    return (
        isinstance(word, str)
        and re.fullmatch(r"[A-Za-z0-9][\w.-]*", word[: LONGEST_NAME + 1]) is not None
        and len(word.encode()) <= LONGEST_NAME
    )


class SplitSpec(Params):
    """Images of a split list, all of them or one half (by a hash of the id)."""

    split: Word
    half: Literal["a", "b"] | None = None

    def overlaps(self, other: SplitSpec) -> bool:
        """Whether the two could share an image."""
        if self.split != other.split:
            return False
        return self.half is None or other.half is None or self.half == other.half

    def __str__(self) -> str:
        return self.split if self.half is None else f"half {self.half} of {self.split}"


class SampleSpec(Params):
    """How large the embedded sample set is drawn."""

    train: Annotated[int, Field(gt=0, le=100_000)] = 160
    val: Annotated[int, Field(gt=0, le=100_000)] = 80
    size: Annotated[int, Field(ge=64, le=1024)] = 128
    seed: Seed = 0


Leak = Literal["train_on_masks", "select_on_report", "train_on_test"]
"""What makes a number optimistic, and is therefore refused unless a study asks for it by name."""


class DataSpec(Params):
    """Which images a study sees, and which of them may be looked at for what."""

    dataset: DataSetName = "voc"
    root: Folder | None = None
    labels: Folder | None = None
    """Of a folder: its table of image-level labels; None means its own labels.csv, .tsv or .json."""
    masks: Literal["none"] | Folder | None = None
    """Of a folder: where its masks are; None means its `masks` if there is one. `none`: don't score."""
    sample: SampleSpec | None = None
    classes: Literal["all"] | Annotated[tuple[Word, ...], Field(max_length=1000)] = "all"
    train: Word = "train"
    holdout: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    select: SplitSpec = SplitSpec(split="train", half="a")
    report: SplitSpec = SplitSpec(split="train", half="b")
    test: SplitSpec | None = None
    limit: PositiveInt | None = None
    """Use only so many images of each list, the first by the SHA-256 of their ids."""
    allow: tuple[Leak, ...] = ()
    """`train_on_masks`: a control may be trained on pixel masks. `select_on_report`: thresholds and
    configurations may be chosen on images that are reported. `train_on_test`: `test` images may be
    trained on. Comparisons say which of them was allowed."""

    @model_validator(mode="before")
    @classmethod
    def _as_the_data_set_needs_them(cls, raw: Any) -> Any:
        kind = DATA_SETS.get(raw.get("dataset")) if isinstance(raw, Mapping) else None
        return raw if kind is None else {**kind.defaults, **raw}

    @property
    def scored(self) -> bool:
        """Whether there are masks to score with, once paths are resolved."""
        return DATA_SETS[self.dataset].scored(self)

    @property
    def mask_folder(self) -> Path | None:
        return self.masks if isinstance(self.masks, Path) else None

    def resolved(self, base: Path) -> DataSpec:
        """Return the spec with absolute paths; those given are relative to `base`. A folder's masks are
        looked for, so that everyone who reads the spec later agrees on whether there are any.

        Raises `ValueError` with "key|message" for a path that can't be."""
        paths = {name: getattr(self, name) for name in ("root", "labels", "masks")}
        update: dict[str, Any] = {}
        for name, path in paths.items():
            if isinstance(path, Path) and not path.is_absolute():
                try:
                    update[name] = absolute(path, base)
                except ValueError as error:
                    raise ValueError(f"{name}|{error}") from error
        root = update.get("root", self.root)
        update |= DATA_SETS[self.dataset].resolved(self, root)
        return self.model_copy(update=update) if update else self


class Base(Params):
    """A finished study on the same storage, from whose kept trials the first sweep starts."""

    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$", max_length=LONGEST_NAME)]
    sweep: Word | None = None
    """None means its last one."""
    arms: tuple[Word, ...] | None = None
    """None means all of them."""


class Resources(Params):
    """What one trial holds while it runs."""

    cpu: Annotated[int, Field(gt=0, le=10_000)] = 1
    gpu: Annotated[float, Field(ge=0, le=10_000, allow_inf_nan=False)] = 0
    """Whole GPUs, or one n-th of one: then n trials share it, each held to its share of the memory."""
    accelerator: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$", max_length=100)] | None = None
    """The kind of GPU, by Ray's name (`T4`, `A100`, `H100`), in a cluster that has several; None takes
    any."""
    workers: Annotated[int, Field(gt=0, le=10_000)] | None = None
    """Processes that train one network together, where a stage can; None means one for each whole GPU."""

    @property
    def processes(self) -> int:
        """The number of those processes."""
        return self.workers or max(1, int(self.gpu))

    @model_validator(mode="after")
    def _each_worker_has_its_own(self) -> Self:
        if self.gpu and self.processes > self.gpu and self.processes > 1:
            raise ValueError(
                f"`workers` is {self.workers}, but must be at most {self.gpu:g}, one for each GPU"
            )
        if self.accelerator and not self.gpu:
            raise ValueError(
                f"`accelerator` is {self.accelerator}, but `gpu` is 0: give the trial one, or leave it out"
            )
        if not self.gpu and self.processes > self.cpu:
            raise ValueError(f"`workers` is {self.workers}, but must be at most {self.cpu}, one a CPU")
        return self

    @field_validator("gpu")
    @classmethod
    def _whole_or_one_nth(cls, value: float) -> float:
        if value == int(value):
            return value
        if value < 0.001:
            raise ValueError(f"`gpu` is {value:g}, but no GPU is shared by more than a thousand trials")
        parts = 1 / value
        # 0.33 and 0.333 both stand for a third; 0.34 would leave no room for the third trial.
        if value < 1 and 0 <= parts - round(parts) < 0.05:
            return value
        near = [round(value)] if value > 1 else [1 / int(parts), 1 / (int(parts) + 1)]
        nearest_share = min(near, key=lambda share: abs(share - value))
        raise ValueError(
            f"`gpu` is {value:g}, but must be a whole number or one n-th (0.5, 0.333, 0.25, …); "
            f"the nearest is {int(nearest_share * 1000 + 1e-6) / 1000:g}"
        )


class Budget(Params):
    """What a study may use up, counted over all its runs; None is no limit."""

    hours: PositiveFloat | None = None
    """While it runs, on the clock."""
    gpu_hours: PositiveFloat | None = None
    """Trials' time by the GPUs they hold."""
    trials: PositiveInt | None = None
    """Trials that were computed, failed ones too; what was found in the storage is free."""
    disk_gb: PositiveFloat | None = None
    """10^9 bytes of artefacts that the study made and that are still there."""


class Tracking(Params):
    """Where MLflow is; None means MLFLOW_TRACKING_URI, or an sqlite file in the storage's folder."""

    uri: Annotated[str, Field(max_length=4000)] | None = None


@dataclass(frozen=True)
class StageUse:
    """One entry of an arm's `stages`; values in `params` may be "$variable"."""

    stage: str
    params: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    source: str | None = None

    def to_raw(self) -> Any:
        extra: dict[str, Any] = {} if self.name == self.stage else {"as": self.name}
        if self.source:
            extra["from"] = self.source
        return {self.stage: {**extra, **self.params}}


@dataclass(frozen=True)
class Arm:
    """A named alternative inside a sweep. `keep` None means the sweep's."""

    name: str
    stages: tuple[StageUse, ...]
    search: Mapping[str, Distribution] = field(default_factory=dict)
    samples: int | None = None
    keep: int | None = None
    control: str | None = None
    """Name of the arm that this one has to beat to have earned its number."""
    stop_below: tuple[StopRule, ...] | None = None
    """None means the sweep's."""

    def to_raw(self) -> dict[str, Any]:
        raw: dict[str, Any] = {}
        if self.search:
            raw["search"] = {name: values.to_raw() for name, values in self.search.items()}
        raw["stages"] = [use.to_raw() for use in self.stages]
        own = {"samples": self.samples, "keep": self.keep, "control": self.control}
        raw.update({key: value for key, value in own.items() if value is not None})
        if self.stop_below is not None:
            raw["stop_below"] = _raw_rules(self.stop_below)
        return raw


def _raw_rules(rules: tuple[StopRule, ...]) -> dict[str, Any]:
    return {metric: value for rule in rules for metric, value in rule.to_raw().items()}


@dataclass(frozen=True)
class Sweep:
    """One search over one or more stages, scored by one metric ("cams/select/miou")."""

    name: str
    arms: tuple[Arm, ...] = ()
    metric: str | None = None
    searcher: Searcher = RandomSearch()
    resources: Resources = Resources()
    keep: int = 1
    seeds: tuple[int, ...] = ()
    replicate: str | None = None
    scheduler: Scheduler = Fifo()
    stop_below: tuple[StopRule, ...] = ()

    def to_raw(self) -> dict[str, Any]:
        raw: dict[str, Any] = {"name": self.name}
        if self.replicate:
            raw["replicate"] = self.replicate
        elif len(self.arms) == 1 and self.arms[0].name == self.name:
            raw.update({k: v for k, v in self.arms[0].to_raw().items() if k != "keep"})
        else:
            raw["arms"] = {arm.name: arm.to_raw() for arm in self.arms}
        if self.metric:
            raw["metric"] = self.metric
        if not self.replicate:
            raw.update(searcher=raw_kind(self.searcher), keep=self.keep)
            if self.scheduler.kind != "fifo":
                raw["scheduler"] = raw_kind(self.scheduler)
            if self.stop_below:
                raw["stop_below"] = _raw_rules(self.stop_below)
        if self.seeds:
            raw["seeds"] = list(self.seeds)
        raw["resources"] = self.resources.model_dump(mode="json", exclude_none=True)
        return raw


@dataclass(frozen=True)
class Study:
    """One study file. `storage` is an absolute folder or a URI."""

    name: str
    data: DataSpec
    sweeps: tuple[Sweep, ...]
    storage: Location
    seed: int = 0
    retain: Literal["kept", "all"] = "kept"
    tracking: Tracking = Tracking()
    base: Base | None = None
    budget: Budget = Budget()

    def to_raw(self) -> dict[str, Any]:
        """Return the study as a study file has it, paths absolute, defaults spelt out; without its storage,
        which is where the file is found."""
        return {
            "name": self.name,
            **({"base": self.base.model_dump(mode="json", exclude_none=True)} if self.base else {}),
            "data": self.data.model_dump(mode="json", exclude_none=True),
            "seed": self.seed,
            "sweeps": [sweep.to_raw() for sweep in self.sweeps],
            "retain": self.retain,
            "tracking": self.tracking.model_dump(mode="json"),
            **({"budget": self.budget.model_dump(exclude_none=True)} if self.budget != Budget() else {}),
        }


__all__ = [
    "Arm",
    "Base",
    "Budget",
    "DataSpec",
    "Resources",
    "SampleSpec",
    "Scalar",
    "SplitSpec",
    "StageUse",
    "StopRule",
    "Study",
    "Sweep",
    "Tracking",
]
