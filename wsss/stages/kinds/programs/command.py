"""The facts of stage `command`: a program of other people that makes CAMs, masks or other files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from wsss.config.params.base import Folder, Params, PositiveFloat, Word
from wsss.config.params.supervision import Labels, names_masks, raw_label
from wsss.config.stage import STAGES, Mention, Place, StageKind
from wsss.errors import ConfigError, Problem, nearest, quoted
from wsss.stages.kinds.programs.words import PLACEHOLDERS, as_word, placeholders, stage_named, wrong_word
from wsss.stages.kinds.segmentations import segmented_ids

if TYPE_CHECKING:
    from wsss.data.view import DataView

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_FOUND = ("cams", "pseudo_masks", "segmentations")
MOST_WORDS, MOST_STEPS = 1000, 10_000
Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Real = Annotated[float, Field(ge=-1e300, le=1e300)]
Seconds = Annotated[str, Field(max_length=20)] | PositiveFloat


def seconds_of(text: str | float) -> float:
    """Return the seconds of "90s", "30m", "6h", "2d" or a number. Raises `ValueError`."""
    if not isinstance(text, str):
        return float(text)
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", text)
    if found is None or not float(found[1]):
        raise ValueError(f"`timeout` is {quoted(text)}, but must be like 90s, 30m, 6h or 2d")
    return float(found[1]) * _SECONDS[found[2]]


def _as_written(raw: Any) -> Any:
    """Return kinds of labels as a study file has them; `raw` is from a study file or a record."""
    return (
        [raw_label(one) if isinstance(one, str) else one for one in raw]
        if isinstance(raw, list | tuple)
        else raw
    )


def _some(labels: tuple[str, ...]) -> tuple[str, ...]:
    if not labels:
        raise ValueError("`supervision` is empty, but must name the kinds of labels that the result rests on")
    return labels


def _time(value: str | float) -> str | float:
    seconds_of(value)
    return value


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except (re.error, RecursionError) as error:
        raise ValueError(f"`pattern` is {quoted(text)}, which is no regular expression: {error}") from error
    return text


class ProgressParams(Params):
    """How progress is read from what a program writes, line by line."""

    pattern: Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_pattern)]
    """A regular expression. Its named groups are metrics (`loss`, `mAP`, `lr` are kept by MLflow); `step` is
    the number of a step, without it each line counts as one."""
    steps: Annotated[int, Field(gt=0, le=MOST_STEPS)] = 1
    """How many steps there are."""


class EnvironmentParams(Params):
    """Which Python `python` is."""

    python: Folder | None = None
    """The path of an interpreter."""
    conda: Word | None = None
    """The name of an environment of conda or mamba."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.python is None) == (self.conda is None):
            raise ValueError("`environment` takes either `python: PATH` or `conda: NAME`")
        return self


class ReadsParams(Params):
    """The names of arrays in its files; without names, they must have a layout that `import` knows."""

    maps: Word | None = None
    """Of the maps, float[n, H, W]; of ids or scores, where it makes segmentations."""
    ids: Word | None = None
    """Of the maps' classes, int[n]; None with `maps`: there is one map of every class."""


class CommandParams(Params):
    """A program of other people as a stage."""

    makes: Literal["cams", "pseudo_masks", "segmentations", "files"]
    """What the program writes to {out}: `<id>.npy` or `.npz` of CAMs, `<id>.png` of masks or segmentations,
    or files that only later commands read."""
    run: tuple[str | Whole | Real | bool, ...] = ()
    """The program's name and arguments; no shell reads them. `python` stands for the environment's."""
    folder: Folder
    """Where its code is: a git repository, or any folder. The program works in a copy of it."""
    environment: EnvironmentParams | None = None
    """None is the Python that runs this package."""
    reads: ReadsParams = ReadsParams()
    missing: Literal["error", "zero"] = "error"
    """As in `import`: whether a file may lack the map of a class that its labels name."""
    supervision: Annotated[Labels, BeforeValidator(_as_written), AfterValidator(_some), PlainSerializer(list)]
    """The kinds of labels that its result rests on; only the study's author knows."""
    timeout: Annotated[Seconds, AfterValidator(_time)] = "1d"
    """How long the program may run after each start."""
    progress: ProgressParams | None = None
    smoke: tuple[str | Whole | Real | bool, ...] = ()
    """Further arguments in `--smoke`, such as one epoch."""
    code: Annotated[str, Field(max_length=64)] = ""
    """The digest of `folder`. `settled` fills it in; a study file must not have it."""
    switches: ClassVar[tuple[str, ...]] = ("missing",)

    @property
    def words(self) -> tuple[str, ...]:
        """Its name and arguments as texts, placeholders not filled in."""
        return tuple(as_word(word) for word in self.run)

    @property
    def seconds(self) -> float:
        """How long it may run."""
        return seconds_of(self.timeout)

    @property
    def steps(self) -> int:
        """How many steps the program reports."""
        return self.progress.steps if self.progress else 1

    def content(self) -> dict[str, Any]:
        # The code and its arguments count, but neither the folder's path nor how its progress is watched.
        kept = super().content()
        # `supervision` stays: tables read it in the record.
        for name in ("folder", "timeout", "progress", "smoke"):
            del kept[name]
        return {**kept, "run": list(self.words)}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if len(self.run) > MOST_WORDS:
            raise ValueError(f"`run` has {len(self.run)} words, but may have {MOST_WORDS}")
        if self.makes != "cams" and (self.reads.ids is not None or self.missing != "error"):
            raise ValueError("`reads.ids` and `missing` belong to `makes: cams`")
        if self.makes not in ("cams", "segmentations") and self.reads.maps is not None:
            raise ValueError("`reads.maps` belongs to `makes: cams` and `makes: segmentations`")
        if self.reads.ids is not None and self.reads.maps is None:
            raise ValueError("`reads.ids` are the classes of `reads.maps`, which is missing")
        for number, word in enumerate(self.words):
            if message := wrong_word(word, self.words[number + 1 :]):
                raise ValueError(message)
        if self.run and "out" not in {name for word in self.words for name in placeholders(word)}:
            raise ValueError("`run` has no {out}, so that it can't know where its result is to go")
        return self


@STAGES.register
class Command(StageKind[CommandParams]):
    name = "command"
    params = CommandParams
    work = "wsss.stages.programs.command:Command"
    elsewhere = True
    seeded = True
    may_make = (*_FOUND, "files")
    given = (*_FOUND, "files")
    paths = ("folder", "environment.python")
    lists = ("labelled_ids",)

    @classmethod
    def expand(cls, raw: Mapping[str, Any]) -> dict[str, Any]:
        if "code" in raw:
            known = [name for name in CommandParams.model_fields if name != "code"]
            raise ConfigError(Problem("code", "is no key of `command`", nearest("code", known)))
        return dict(raw)

    @classmethod
    def makes(cls, params: CommandParams) -> str:
        return params.makes

    @classmethod
    def program(cls, raw: Mapping[str, Any]) -> tuple[str, ...]:
        run = raw.get("run")
        return tuple(map(as_word, run)) if isinstance(run, list | tuple) else ()

    @classmethod
    def supervision(cls, params: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the kinds of labels that its result rests on, as declared."""
        return tuple(params.get("supervision", ()))

    @classmethod
    def mentions(cls, raw: Mapping[str, Any]) -> list[Mention]:
        found = []
        for number, word in enumerate(cls.program(raw)):
            for placeholder in placeholders(word):
                if placeholder not in PLACEHOLDERS:
                    name, layout = stage_named(placeholder)
                    found.append(
                        Mention(("run", number), name, placeholder, PLACEHOLDERS, ("cams",) if layout else ())
                    )
        return found

    @classmethod
    def settled(cls, params: CommandParams) -> CommandParams:
        if params.code:
            return params
        from wsss.stages.programs.folder import look_at

        return params.model_copy(update={"code": look_at(params.folder).digest})

    @classmethod
    def consumes(cls, params: CommandParams, data: DataView) -> Mapping[str, str]:
        return {
            "images": data.image_key(data.labelled_ids),
            **({"unlabelled": data.photo_key(wanted(params, data))} if cls._sees_test(params) else {}),
            **({"masks": data.mask_key(data.train)} if names_masks(params.supervision) else {}),
        }

    @staticmethod
    def _sees_test(params: CommandParams) -> bool:
        named = {name for word in params.words for name in placeholders(word)}
        return params.makes == "segmentations" or "data.test" in named

    @classmethod
    def images(cls, params: CommandParams) -> tuple[str, ...]:
        return ("select", "test") if params.makes == "segmentations" else cls.lists

    @classmethod
    def small(cls, raw: Mapping[str, Any]) -> dict[str, Any]:
        run, more = raw.get("run"), raw.get("smoke")
        if not (isinstance(run, list) and isinstance(more, list)):
            return dict(raw)
        return {**{key: value for key, value in raw.items() if key != "smoke"}, "run": [*run, *more]}

    @classmethod
    def passes(cls, params: CommandParams, facts: Mapping[str, Any]) -> float:
        return 1.0

    @classmethod
    def alike(cls, params: CommandParams) -> tuple[Any, ...]:
        # The program alone: nothing tells how its arguments change its time.
        return (params.makes, *params.words[:2])

    @classmethod
    def placed(cls, params: CommandParams) -> Place:
        return "device"

    @classmethod
    def shown(cls, record: Mapping[str, Any]) -> dict[str, str]:
        from wsss.store.artefact import LOG

        return {f"/{LOG}": LOG} if LOG in record.get("files", {}) else {}


def wanted(params: CommandParams, data: DataView) -> tuple[str, ...]:
    """Return the ids of the images that a program works on. Raises `ConfigError`."""
    if params.makes != "segmentations":
        return data.labelled_ids
    return tuple(segmented_ids(data))
