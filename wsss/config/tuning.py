"""The searchers, which choose a sweep's configurations, and the schedulers, which stop its trials."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from wsss.config.params.base import Epochs, Group, all_wrong, wrong
from wsss.config.search import Distribution, Scalar, parse_distribution
from wsss.errors import quoted, shortened
from wsss.plugins import Registry, loaded

Count = Annotated[int, Field(ge=0, le=10_000)]
Brackets = Annotated[int, Field(ge=2, le=100)]
MIN_TRIALS = 3
"""A median of fewer trials stops none."""


class Searcher(Group):
    """How a sweep chooses configurations. A subclass is registered under its `name`, which is its `kind`."""

    name: ClassVar[str]
    learns: ClassVar[bool] = False
    """Whether each configuration follows from the scores so far: of a `LearningSearcher`."""
    whole: ClassVar[bool] = False
    """Whether it goes through all choices, which `samples` may cut short."""
    kind: str

    def draw(
        self, search: Mapping[str, Distribution], *, samples: int | None, seed: int, name: str
    ) -> list[dict[str, Scalar]]:
        """Return the configurations of an arm that are known up front: of one that learns, a guess.

        Args:
            search: the arm's search variables.
            samples: how many are wanted; None for all choices.
            seed: the study's.
            name: what keeps arms of one study apart.
        """
        found: list[dict[str, Scalar]] = loaded("wsss.pipeline.search.sampling:sample_arm")(
            search, searcher=self.kind, samples=samples, seed=seed, name=name
        )
        return found


class LearningSearcher(Searcher):
    """One whose configurations each follow from the scores so far."""

    learns: ClassVar[bool] = True

    @abstractmethod
    def begin(self, search: Mapping[str, Distribution], *, samples: int, seed: int, name: str) -> Any:
        """Return the search itself, which `wsss.pipeline.search.suggest` describes.

        Args:
            search: the arm's search variables.
            samples: how many configurations are wanted.
            seed: the study's.
            name: what keeps arms of one study apart.
        """


class Scheduler(Group):
    """When a sweep stops a trial. A subclass is registered under its `name`, which is its `kind`."""

    name: ClassVar[str]
    judges: ClassVar[bool] = True
    """Whether it looks at rung scores."""
    rule: ClassVar[Any] = None
    """What judges an arm's trials: a function of the parameters and a classifier's epochs that returns a
    scheduler of Ray's or a `wsss.pipeline.search.judging.Judge`, or where it is, "module:function"."""
    begins: ClassVar[str] = "grace"
    """The parameter that has the epoch at which judging begins."""
    kind: str


SEARCHERS: Registry[type[Searcher]] = Registry("searcher")
SCHEDULERS: Registry[type[Scheduler]] = Registry("scheduler")


@SEARCHERS.register
class RandomSearch(Searcher):
    """Draws every variable for itself, up front, from the study's seed."""

    name: ClassVar[str] = "random"
    kind: Literal["random"] = "random"


@SEARCHERS.register
class GridSearch(Searcher):
    """Goes through the product of all choices."""

    name: ClassVar[str] = "grid"
    whole: ClassVar[bool] = True
    kind: Literal["grid"] = "grid"


@SEARCHERS.register
class OptunaSearch(LearningSearcher):
    """Optuna's tree-structured Parzen estimator: each configuration follows from the scores so far."""

    name: ClassVar[str] = "optuna"
    kind: Literal["optuna"] = "optuna"
    startup: Count = 10
    """Configurations of an arm that are drawn at random before the estimator takes over."""
    candidates: Annotated[int, Field(gt=0, le=10_000)] = 24
    """How many the estimator draws, to take the most promising of."""
    multivariate: bool = True
    """Variables of an arm are modelled together rather than one by one."""

    def begin(self, search: Mapping[str, Distribution], *, samples: int, seed: int, name: str) -> Any:
        suggestions = loaded("wsss.pipeline.search.suggest:Suggestions")
        return suggestions(dict(search), self, samples=samples, seed=seed, name=name)


@SCHEDULERS.register
class Fifo(Scheduler):
    """Every trial runs to its end."""

    name: ClassVar[str] = "fifo"
    judges: ClassVar[bool] = False
    kind: Literal["fifo"] = "fifo"


@SCHEDULERS.register
class Asha(Scheduler):
    """Asynchronous successive halving (Li et al. 2020): at epochs `grace`, `grace` · `reduction`, … a
    classifier goes on if its rung score is among the best 1 / `reduction` of its arm so far."""

    name: ClassVar[str] = "asha"
    rule: ClassVar[Any] = "wsss.tuning.schedulers:asha"
    kind: Literal["asha"] = "asha"
    grace: Epochs = 1
    reduction: Brackets = 3


@SCHEDULERS.register
class Hyperband(Scheduler):
    """Asynchronous Hyperband (Li et al. 2020): trials are dealt out to `brackets` of successive halving,
    each of which begins to judge later than the one before it."""

    name: ClassVar[str] = "hyperband"
    rule: ClassVar[Any] = "wsss.tuning.schedulers:hyperband"
    kind: Literal["hyperband"] = "hyperband"
    grace: Epochs = 1
    reduction: Brackets = 3
    brackets: Brackets = 3


@SCHEDULERS.register
class Median(Scheduler):
    """The median rule (Golovin et al. 2017): a classifier stops whose best rung score so far is below the
    median of the others' means up to that epoch."""

    name: ClassVar[str] = "median"
    rule: ClassVar[Any] = "wsss.tuning.schedulers:median"
    kind: Literal["median"] = "median"
    grace: Epochs = 1
    min_trials: Epochs = MIN_TRIALS


@SCHEDULERS.register
class Pbt(Scheduler):
    """Population-based training (Jaderberg et al. 2017): an arm's trials train `interval` epochs at a time;
    then the worst go on from the state of one of the best, with parameters changed a little."""

    name: ClassVar[str] = "pbt"
    begins: ClassVar[str] = "interval"
    kind: Literal["pbt"] = "pbt"
    interval: Epochs
    mutate: dict[str, dict[str, list[float]]]
    """Search variables that may change, and what a new value is drawn from or kept within."""
    quantile: Annotated[float, Field(gt=0, le=0.5)] = 0.25
    """Share of trials that is replaced, and share that they are replaced from; at least one."""
    resample: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Probability that a value is drawn anew instead of multiplied or divided by `perturb`."""
    perturb: Annotated[float, Field(gt=1, le=1000, allow_inf_nan=False)] = 1.2

    def distribution(self, name: str) -> Distribution:
        """Return what a variable is drawn from."""
        found, _, _ = parse_distribution(self.mutate[name])
        assert found is not None, "it was checked"
        return found

    @field_validator("mutate")
    @classmethod
    def _drawn_from_ranges(
        cls, value: dict[str, dict[str, list[float]]]
    ) -> dict[str, dict[str, list[float]]]:
        if not value:
            raise ValueError("`mutate` must name at least one search variable")
        for name, raw in value.items():
            found, message, hint = parse_distribution(raw)
            if found is None:
                raise ValueError(f"`mutate.{name}` {message}{f' ({hint})' if hint else ''}")
            if found.kind not in ("uniform", "loguniform"):
                raise ValueError(f"`mutate.{name}` must be {{uniform: [low, high]}} or {{loguniform: …}}")
        return value


@dataclass(frozen=True)
class StopRule:
    """A trial's chain ends after a scored stage whose score is below `below`, or below the median of the
    arm's others (`below` None) once there are `min_trials` of them."""

    metric: str
    below: float | None = None
    min_trials: int = MIN_TRIALS

    def to_raw(self) -> dict[str, Any]:
        return {self.metric: {"median": self.min_trials} if self.below is None else self.below}


def parse_rules(raw: Any) -> tuple[StopRule, ...]:
    """Return the rules of a `stop_below`: a number or a median, or one of both for each metric.

    A rule without a metric, "", is about the first scored stage. Raises `ValidationError`, with the metric as
    the place of each problem.
    """
    if isinstance(raw, tuple):
        return raw
    if raw is None or raw == {}:
        return ()
    if not isinstance(raw, Mapping) or set(raw) <= {"median"}:
        rule = _rule("", raw)
        if rule is None:
            raise wrong(f"`stop_below` is {quoted(raw)}, but must be {RULE}")
        return (rule,)
    rules = {metric: _rule(metric, value) for metric, value in raw.items()}
    bad = {
        (metric,): wrong(f"`{shortened(metric)}` is {quoted(raw[metric])}, but must be {RULE}")
        for metric, rule in rules.items()
        if rule is None
    }
    if bad:
        raise all_wrong(bad)
    return tuple(rule for rule in rules.values() if rule is not None)


RULE = "a number in [0, 1], `median`, or `{median: least number of trials}`"


def _rule(metric: str, value: Any) -> StopRule | None:
    if value == "median":
        return StopRule(metric)
    if isinstance(value, Mapping) and set(value) == {"median"}:
        least = value["median"]
        good = isinstance(least, int) and not isinstance(least, bool) and 1 <= least <= 10_000
        return StopRule(metric, min_trials=least) if good else None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return StopRule(metric, float(value))
    return None


def raw_kind(params: Group) -> Any:
    """Return a searcher or scheduler as a study file has it: its name alone where all is as by default."""
    kind = params.model_dump()["kind"]
    content = params.model_dump(mode="json")
    needed = any(field.is_required() for field in type(params).model_fields.values())
    return kind if not needed and params == type(params)() else content
