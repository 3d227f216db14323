"""Groups of a study and its sweeps: a base, resources, a budget, MLflow."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from wsss.config.naming import LONGEST_NAME
from wsss.config.params.base import Group, PositiveFloat, PositiveInt, Word
from wsss.errors import quoted


class Base(Group):
    """A finished study on the same storage, from whose kept trials the first sweep starts."""

    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$", max_length=LONGEST_NAME)]
    sweep: Word | None = None
    """None means its last one."""
    arms: tuple[Word, ...] | None = None
    """None means all of them."""


class Resources(Group):
    """What one trial holds while it runs."""

    cpu: Annotated[int, Field(gt=0, le=10_000)] = 1
    gpu: Annotated[float, Field(ge=0, le=10_000, allow_inf_nan=False)] = 0
    """Whole GPUs, or one n-th of one: then n trials share it, each held to its share of the memory."""
    accelerator: str | None = None
    """The kind of GPU, by Ray's name (`T4`, `A100`, `H100`), in a cluster of several; None takes any."""
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

    @field_validator("accelerator")
    @classmethod
    def _one_word(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,99}", value, re.ASCII):
            raise ValueError(f"`accelerator` is {quoted(value)}, but must be one word, such as A100 or T4")
        return value

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


class Budget(Group):
    """What a study may use up, counted over all its runs; None is no limit."""

    hours: PositiveFloat | None = None
    """Hours on the clock, while it runs."""
    gpu_hours: PositiveFloat | None = None
    """Hours of its trials, each times the GPUs that the trial holds."""
    trials: PositiveInt | None = None
    """Trials that were computed, failed ones too; results found in the storage are free."""
    disk_gb: PositiveFloat | None = None
    """10^9 bytes of the study's artefacts whose files are still there."""


class Tracking(Group):
    """Where MLflow is; None means MLFLOW_TRACKING_URI, or an sqlite file in the storage's folder."""

    uri: Annotated[str, Field(max_length=4000)] | None = None
    system: Annotated[float, Field(ge=1, le=86_400)] | None = None
    """Seconds between two looks at how busy the machine is that runs the study; None doesn't look."""
