"""A study as the rest of the program sees it: checked, resolved, immutable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from wsss.config.params import Params, PositiveInt
from wsss.config.search import Distribution, Scalar


class SplitSpec(Params):
    """Images of a split list, all of them or one half (by a hash of the id)."""

    split: str
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

    train: PositiveInt = 160
    val: PositiveInt = 80
    size: Annotated[int, Field(ge=64, le=1024)] = 128
    seed: int = 0


Leak = Literal["train_on_masks", "select_on_report", "train_on_test"]
"""What makes a number optimistic, and is therefore refused unless a study asks for it by name."""


class DataSpec(Params):
    """Which images a study sees, and which of them may be looked at for what."""

    dataset: Literal["voc", "sample"] = "voc"
    root: Path | None = None
    sample: SampleSpec | None = None
    classes: Literal["all"] | tuple[str, ...] = "all"
    train: str = "train"
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


class Base(Params):
    """A finished study on the same storage, from whose kept trials the first sweep starts."""

    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$")]
    sweep: str | None = None
    """None means its last one."""
    arms: tuple[str, ...] | None = None
    """None means all of them."""


class Resources(Params):
    """What one trial holds while it runs."""

    cpu: PositiveInt = 1
    gpu: Annotated[float, Field(ge=0)] = 0
    workers: PositiveInt | None = None
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
        if not self.gpu and self.processes > self.cpu:
            raise ValueError(f"`workers` is {self.workers}, but must be at most {self.cpu}, one a CPU")
        return self


class Tracking(Params):
    """Where MLflow is; None means MLFLOW_TRACKING_URI, or an sqlite file in the storage."""

    uri: str | None = None


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

    def to_raw(self) -> dict[str, Any]:
        raw: dict[str, Any] = {}
        if self.search:
            raw["search"] = {name: values.to_raw() for name, values in self.search.items()}
        raw["stages"] = [use.to_raw() for use in self.stages]
        own = {"samples": self.samples, "keep": self.keep, "control": self.control}
        raw.update({key: value for key, value in own.items() if value is not None})
        return raw


@dataclass(frozen=True)
class Sweep:
    """One search over one or more stages, scored by one metric ("cams/select/miou")."""

    name: str
    arms: tuple[Arm, ...] = ()
    metric: str | None = None
    searcher: Literal["random", "grid"] = "random"
    resources: Resources = Resources()
    keep: int = 1
    seeds: tuple[int, ...] = ()
    replicate: str | None = None

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
            raw.update(searcher=self.searcher, keep=self.keep)
        if self.seeds:
            raw["seeds"] = list(self.seeds)
        raw["resources"] = self.resources.model_dump(mode="json", exclude_none=True)
        return raw


@dataclass(frozen=True)
class Study:
    """One study file. `storage` is absolute."""

    name: str
    data: DataSpec
    sweeps: tuple[Sweep, ...]
    storage: Path
    seed: int = 0
    retain: Literal["kept", "all"] = "kept"
    tracking: Tracking = Tracking()
    base: Base | None = None

    def to_raw(self) -> dict[str, Any]:
        """Return the study as a study file has it, paths absolute, defaults spelt out."""
        return {
            "name": self.name,
            **({"base": self.base.model_dump(mode="json", exclude_none=True)} if self.base else {}),
            "data": self.data.model_dump(mode="json", exclude_none=True),
            "seed": self.seed,
            "sweeps": [sweep.to_raw() for sweep in self.sweeps],
            "storage": str(self.storage),
            "retain": self.retain,
            "tracking": self.tracking.model_dump(mode="json"),
        }


__all__ = [
    "Arm",
    "Base",
    "DataSpec",
    "Resources",
    "SampleSpec",
    "Scalar",
    "SplitSpec",
    "StageUse",
    "Study",
    "Sweep",
    "Tracking",
]
