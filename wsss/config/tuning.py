"""How a sweep chooses configurations, and when it gives up on a trial: what a study file may say of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from wsss.config.params import Params, PositiveInt

Count = Annotated[int, Field(ge=0)]


class RandomSearch(Params):
    """Draws every variable for itself, up front, from the study's seed."""

    kind: Literal["random"] = "random"


class GridSearch(Params):
    """Goes through the product of all choices."""

    kind: Literal["grid"] = "grid"


class OptunaSearch(Params):
    """Optuna's tree-structured Parzen estimator: each configuration follows from the scores so far."""

    kind: Literal["optuna"] = "optuna"
    startup: Count = 10
    """Configurations of an arm that are drawn at random before the estimator takes over."""
    candidates: PositiveInt = 24
    """How many the estimator draws, to take the most promising of."""
    multivariate: bool = True
    """Variables of an arm are modelled together rather than one by one."""


class Fifo(Params):
    """Every trial runs to its end."""

    kind: Literal["fifo"] = "fifo"


class Asha(Params):
    """Asynchronous successive halving (Li et al. 2020): at epochs `grace`, `grace` · `reduction`, … a
    classifier goes on if its rung score is among the best 1 / `reduction` of its arm so far."""

    kind: Literal["asha"] = "asha"
    grace: PositiveInt = 1
    reduction: Annotated[int, Field(ge=2)] = 3


class Hyperband(Params):
    """Asynchronous Hyperband (Li et al. 2020): trials are dealt out to `brackets` of successive halving,
    each of which begins to judge later than the one before it."""

    kind: Literal["hyperband"] = "hyperband"
    grace: PositiveInt = 1
    reduction: Annotated[int, Field(ge=2)] = 3
    brackets: Annotated[int, Field(ge=2)] = 3


class Median(Params):
    """The median rule (Golovin et al. 2017): a classifier stops whose best rung score so far is below the
    median of the others' means up to that epoch."""

    kind: Literal["median"] = "median"
    grace: PositiveInt = 1
    min_trials: PositiveInt = 3


Searcher = RandomSearch | GridSearch | OptunaSearch
Scheduler = Fifo | Asha | Hyperband | Median
SEARCHERS: dict[str, type[Params]] = {"random": RandomSearch, "grid": GridSearch, "optuna": OptunaSearch}
SCHEDULERS: dict[str, type[Params]] = {"fifo": Fifo, "asha": Asha, "hyperband": Hyperband, "median": Median}


@dataclass(frozen=True)
class StopRule:
    """A trial's chain ends after a scored stage whose score is below `below`, or below the median of the
    arm's others (`below` None) once there are `min_trials` of them."""

    metric: str
    below: float | None = None
    min_trials: int = 3

    def to_raw(self) -> dict[str, Any]:
        return {self.metric: {"median": self.min_trials} if self.below is None else self.below}


def raw_kind(params: Params) -> Any:
    """Return a searcher or scheduler as a study file has it: its name alone where all is as by default."""
    kind = params.model_dump()["kind"]
    return kind if params == type(params)() else params.model_dump(mode="json")
