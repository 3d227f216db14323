"""A study as its file has it and the rest of the program sees it: checked, resolved, immutable.

These models say, once, what each key may hold: the checks read files by them, and `wsss.config.schema` makes
the JSON Schema of them for editors. What one key means for another is in `wsss.config.checks`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    PrivateAttr,
    WithJsonSchema,
    field_validator,
)

from wsss.config.data_set import DataSpec, SampleSpec, SplitSpec
from wsss.config.naming import NameOf
from wsss.config.params.base import StudyPart, Whole, wrong
from wsss.config.params.fairness import Allowed, NamedProtocol, raw_allow
from wsss.config.params.groups import Base, Budget, Resources, Tracking
from wsss.config.params.registered import KindOf
from wsss.config.params.supervision import Labels, raw_label
from wsss.config.search import KINDS, Distribution, parse_distribution
from wsss.config.stage_use import StageUse, one_key, stage_use
from wsss.config.text.location import Location, parse_location
from wsss.config.tuning import (
    SCHEDULERS,
    SEARCHERS,
    Fifo,
    RandomSearch,
    Scheduler,
    Searcher,
    StopRule,
    parse_rules,
    raw_kind,
)
from wsss.errors import quoted

MOST_TRIALS = 10_000
"""Of a study; each is a line of the ledger, a run in MLflow, a folder of Ray's."""
MOST_SWEEPS, MOST_STAGES, MOST_SEEDS = 50, 50, 1000
LARGEST_SEED = 2**32 - 1


def _drawn(raw: Any) -> Distribution:
    if isinstance(raw, Distribution):
        return raw
    found, message, hint = parse_distribution(raw)
    if found is None:
        raise wrong(message, hint, about="the search variable")
    return found


Drawn = Annotated[Distribution, PlainValidator(_drawn), WithJsonSchema(one_key({kind: {} for kind in KINDS}))]
Rules = Annotated[
    tuple[StopRule, ...],
    PlainValidator(parse_rules),
    WithJsonSchema({"type": ["number", "string", "object"]}),
]
Trials = Annotated[int, Whole(1, MOST_TRIALS)]


def _at_most(what: str, most: int) -> BeforeValidator:
    def check(value: Any) -> Any:
        if isinstance(value, list) and len(value) > most:
            raise wrong(f"there are {len(value)} {what}, but may be {most}")
        return value

    return BeforeValidator(check)


class StageList(StudyPart):
    """Stages one after the other, and what is searched over in their parameters."""

    stages: Annotated[
        tuple[Annotated[StageUse, BeforeValidator(stage_use)], ...],
        _at_most("stages", MOST_STAGES),
        Field(json_schema_extra={"minItems": 1, "maxItems": MOST_STAGES}),
    ] = ()
    search: dict[str, Drawn] = Field(default_factory=dict)
    samples: Trials | None = None
    supervision: Labels = ()
    """Kinds of labels that it rests on besides those that its stages tell of."""

    def to_raw(self) -> dict[str, Any]:
        raw: dict[str, Any] = {}
        if self.supervision:
            raw["supervision"] = [raw_label(label) for label in self.supervision]
        if self.search:
            raw["search"] = {name: values.to_raw() for name, values in self.search.items()}
        raw["stages"] = [use.to_raw() for use in self.stages]
        return raw if self.samples is None else {**raw, "samples": self.samples}


class Arm(StageList):
    """A named alternative inside a sweep. `keep` None means the sweep's."""

    called: ClassVar[str] = "arm `{}`"

    keep: Trials | None = None
    control: str | None = None
    """Name of the arm that this one has to beat to have earned its number."""
    stop_below: Rules | None = None
    """None means the sweep's."""
    _name: str = PrivateAttr("")

    @property
    def name(self) -> str:
        """Its key among the sweep's `arms`; the sweep's own name where it has no `arms`."""
        return self._name

    def to_raw(self) -> dict[str, Any]:
        own = {"keep": self.keep, "control": self.control}
        raw = {**super().to_raw(), **{key: value for key, value in own.items() if value is not None}}
        return raw if self.stop_below is None else {**raw, "stop_below": _raw_rules(self.stop_below)}


def _raw_rules(rules: tuple[StopRule, ...]) -> dict[str, Any]:
    return {metric: value for rule in rules for metric, value in rule.to_raw().items()}


class Sweep(StageList):
    """One search over one or more stages, scored by one metric ("cams/select/miou"): of `alternatives`, the
    `arms` of its file, or of its own stages."""

    model_config = ConfigDict(populate_by_name=True)
    called: ClassVar[str] = "a sweep"

    name: Annotated[str, NameOf("a sweep")]
    alternatives: dict[Annotated[str, NameOf("an arm")], Arm] = Field({}, validation_alias="arms")
    metric: str | None = None
    searcher: Annotated[Searcher, KindOf(SEARCHERS)] = RandomSearch()
    scheduler: Annotated[Scheduler, KindOf(SCHEDULERS)] = Fifo()
    stop_below: Rules = ()
    resources: Resources = Resources()
    keep: Trials = 1
    seeds: tuple[Annotated[int, Whole(0, LARGEST_SEED)], ...] = ()
    replicate: str | None = None

    @field_validator("alternatives", mode="before")
    @classmethod
    def _at_least_one(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or not raw:
            raise wrong("`arms` must map at least one name to an arm")
        return raw

    @field_validator("replicate", mode="before")
    @classmethod
    def _is_a_name(cls, raw: Any) -> Any:
        if raw is not None and not isinstance(raw, str):
            raise wrong(f"no earlier sweep is named {quoted(raw)}")
        return raw

    @field_validator("seeds", mode="before")
    @classmethod
    def _are_different(cls, raw: Any) -> Any:
        """Say of all seeds at once what is wrong."""
        good = isinstance(raw, list | tuple) and all(type(s) is int and 0 <= s <= LARGEST_SEED for s in raw)
        if not good or len(set(raw)) < len(raw):
            expected = f"a list of different whole numbers from 0 to {LARGEST_SEED}"
            raise wrong(f"`seeds` is {quoted(raw)}, but must be {expected}")
        if len(raw) > MOST_SEEDS:
            raise wrong(f"`seeds` lists {len(raw)} numbers, but may list {MOST_SEEDS}")
        return raw

    def model_post_init(self, context: Any) -> None:
        for name, arm in self.alternatives.items():
            arm._name = name

    @property
    def arms(self) -> tuple[Arm, ...]:
        """Its arms: its own stages are an arm of its name."""
        if self.alternatives or "stages" not in self.model_fields_set:
            return tuple(self.alternatives.values())
        own = Arm(stages=self.stages, search=self.search, samples=self.samples, supervision=self.supervision)
        own._name = self.name
        return (own,)

    def place(self, arm: Arm) -> tuple[str, ...]:
        """Return the keys that lead from the sweep to an arm in its file."""
        return ("arms", arm.name) if self.alternatives else ()

    def map_arms(self, change: Callable[[Arm], Arm]) -> Self:
        """Return the sweep with every arm changed."""
        changed = [change(arm) for arm in self.arms]
        if self.alternatives:
            return self.model_copy(update={"alternatives": {arm.name: arm for arm in changed}})
        return self.model_copy(
            update={key: getattr(arm, key) for arm in changed for key in StageList.model_fields}
        )

    def to_raw(self) -> dict[str, Any]:
        raw: dict[str, Any] = {"name": self.name}
        if self.replicate:
            raw["replicate"] = self.replicate
        elif self.alternatives:
            raw["arms"] = {arm.name: arm.to_raw() for arm in self.arms}
        else:
            raw |= super().to_raw()
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


def _location(raw: Any) -> Any:
    if isinstance(raw, Path):
        return raw
    if not isinstance(raw, str):
        raise wrong(f"`storage` is {quoted(raw)}, but must be a folder or an address")
    try:
        return parse_location(raw)
    except ValueError as error:
        message, _, hint = str(error).partition("|")
        raise wrong(f"`storage` {message}", hint) from error


def _default(raw: Any) -> Any:
    """Return what stands for a group of a file: `null` is the default."""
    return {} if raw is None else raw


class Study(StudyPart):
    """One study file. `storage` is an absolute folder or a URI."""

    called: ClassVar[str] = "the study"

    name: Annotated[str, NameOf("the study")]
    base: Base | None = None
    data: DataSpec
    protocol: NamedProtocol = None
    allow: Allowed = Field(default_factory=dict)
    """What makes arms hard to compare and is wanted all the same → why; empty where no reason is given."""
    seed: Annotated[int, Whole(0, LARGEST_SEED)] = 0
    sweeps: Annotated[
        tuple[Sweep, ...],
        _at_most("sweeps", MOST_SWEEPS),
        Field(json_schema_extra={"minItems": 1, "maxItems": MOST_SWEEPS}),
    ]
    storage: Annotated[Location, PlainValidator(_location), WithJsonSchema({"type": ["string", "null"]})]
    retain: Literal["kept", "all"] = "kept"
    tracking: Annotated[Tracking, BeforeValidator(_default, json_schema_input_type=Tracking | None)] = (
        Tracking()
    )
    budget: Annotated[Budget, BeforeValidator(_default, json_schema_input_type=Budget | None)] = Budget()

    def uses(self) -> Iterator[tuple[Sweep, Arm, StageUse]]:
        """Iterate over all stages of all arms, in the order of the file."""
        for sweep in self.sweeps:
            for arm in sweep.arms:
                for use in arm.stages:
                    yield sweep, arm, use

    def to_raw(self) -> dict[str, Any]:
        """Return the study as a study file has it, paths absolute, defaults spelt out; without its storage,
        which is where the file is found."""
        return {
            "name": self.name,
            **({"base": self.base.model_dump(mode="json", exclude_none=True)} if self.base else {}),
            "data": self.data.model_dump(mode="json", exclude_none=True),
            **({"protocol": self.protocol.to_raw()} if self.protocol else {}),
            **({"allow": raw_allow(self.allow)} if self.allow else {}),
            "seed": self.seed,
            "sweeps": [sweep.to_raw() for sweep in self.sweeps],
            "retain": self.retain,
            "tracking": {"uri": None, **self.tracking.model_dump(mode="json", exclude_none=True)},
            **({"budget": self.budget.model_dump(exclude_none=True)} if self.budget != Budget() else {}),
        }


__all__ = [
    "Arm",
    "Base",
    "Budget",
    "DataSpec",
    "Resources",
    "SampleSpec",
    "SplitSpec",
    "StageUse",
    "StopRule",
    "Study",
    "Sweep",
    "Tracking",
]
