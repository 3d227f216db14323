"""The facts of stages, known without doing their work: one class a stage, which all other rooms ask.

The class is cheap to import; its work, which needs torch, is named by `work` and imported when an artefact is
made.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Generic, Literal, TypeVar

from pydantic import ValidationError

from wsss.config.params.base import Params
from wsss.plugins import Registry, loaded

P = TypeVar("P", bound=Params)
Place = Literal["device", "pool", "serial", "device and pool"]

CROP = 64
"""Pixels of a crop's side in `--smoke`."""
BACKBONE = "efficientnet_lite0"
"""The backbone of `--smoke`, the smallest."""
SMALL_NETWORK: Mapping[str, Any] = {
    "backbone": BACKBONE,
    "weights": "package",
    "epochs": 1,
    "batch": 8,
    "crop": CROP,
    "long_side": [CROP, 2 * CROP],
}
"""Parameters of a small training in `--smoke`."""


@dataclass(frozen=True)
class Mention:
    """A place in parameters as written that names an earlier stage.

    Args:
        path: where it stands, below the stage.
        name: the stage's name, or a kind of artefact.
        text: as it is written.
        others: other words that may stand there.
        kinds: kinds of artefacts that may stand there; empty for all that the stage can be given.
    """

    path: tuple[str | int, ...]
    name: str
    text: str
    others: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scored:
    """How a kind of artefact is compared with masks.

    Args:
        files: `maps` are CAMs, cut at a threshold that `select` images choose; `masks` are <id>.png.
        title: its column in tables.
        order: its place among columns: the lower, the further left.
        published: the beginning of the protocol's name among published numbers.
        on: the part that is reported: `report`, or `test` where labels of photos are not given.
    """

    files: Literal["maps", "masks"]
    title: str
    order: float
    published: str
    on: Literal["report", "test"] = "report"


MEANS = ("size", "long_side", "crop", "resize", "scales", "flip", "photos", "channels", "batch")
"""Parameters of that name say what a stage spends: how large images are, how often it looks at each."""


class StageKind(ABC, Generic[P]):
    """The facts of a stage. A subclass overrides what differs; there are no instances.

    A kind of artefact is named after the stage that makes it. `params` everywhere are the stage's own,
    with search variables filled in.
    """

    name: ClassVar[str]
    params: ClassVar[type[Params]]
    work: ClassVar[Any]
    """The subclass of `wsss.stages.contract.Stage` that does the work, or where it is: "module:Class"."""
    version: ClassVar[int] = 1
    """Raise it when the same parameters give another result than before: it is part of the key. Where that
    concerns some parameters only, raise their `revision` instead."""
    seeded: ClassVar[bool] = False
    """Whether its result depends on the seed."""
    named_in_studies: ClassVar[bool] = True
    """Whether a study file may name it."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Kinds of artefacts it reads, unless `reads` says otherwise."""
    may_make: ClassVar[tuple[str, ...]] = ()
    """Kinds of artefacts it can make; empty for the kind that has its own name."""
    given: ClassVar[tuple[str, ...]] = ()
    """Kinds of artefacts that it can be given by the names of the stages that made them."""
    paths: ClassVar[tuple[str, ...]] = ()
    """Parameters that are paths, in a study file relative to the file; "group.name" for one of a group."""
    scored: ClassVar[Scored | None] = None
    """How the kind of artefact of its name is scored."""
    lists: ClassVar[tuple[str, ...]] = ("train",)
    """The images that it works on, by the names of `DataView`, unless `images` says otherwise."""
    place: ClassVar[Place] = "device"
    """Where the work is done, unless `placed` says otherwise: `device`, `pool` (image by image on as many
    processes as there are CPUs) or `serial` (one CPU), whatever the device. For the last two a trial holds no
    GPU."""
    grows: ClassVar[Literal["", "images", "pixels"]] = "pixels"
    """With what the size of an artefact grows."""
    ranks: ClassVar[str] = ""
    """The name, among its `results`, of a score that needs no mask and may rank trials."""
    rests_on: ClassVar[tuple[str, ...] | None] = None
    """What `supervision` says of all parameters: `()` for a stage that brings in no labels. None: nobody
    knows, so that a study has to declare it."""
    elsewhere: ClassVar[bool] = False
    """Whether another program makes its result: how long that trained, nobody knows."""
    means: ClassVar[tuple[str, ...]] = MEANS
    """Parameters that say what it spends besides epochs. Tables tell where rows differ in them."""
    judged: ClassVar[bool] = False
    """Whether schedulers judge its epochs by their rung scores: a classifier. Its parameters have `epochs`,
    `begin`, `rung` and `span`."""
    segments: ClassVar[bool] = False
    """Whether the kind of artefact of its name is a network that makes masks of new photos. (`predict` takes
    those of a stage that makes a `segmenter`.)"""
    control: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Parameters with which what it learns is dealt at random: the control that an arm with it must beat."""

    @classmethod
    def model(cls) -> type[Params]:
        """Return the class of its parameters."""
        return cls.params

    @classmethod
    def expand(cls, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Return parameters as written, with a name that stands for several of them replaced by these. Raises
        `ConfigError`."""
        return dict(raw)

    @classmethod
    def words(cls) -> dict[str, tuple[str, ...]]:
        """Return the keys that `expand` replaces, and what each may be."""
        return {}

    @classmethod
    def reads(cls, params: P) -> tuple[str, ...]:
        """Return the kinds of artefacts it reads."""
        return cls.needs

    @classmethod
    def mentions(cls, raw: Mapping[str, Any]) -> list[Mention]:
        """Return the earlier stages that parameters, as written or resolved, name beside those of `reads`."""
        return []

    @classmethod
    def program(cls, raw: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the words of the foreign program that parameters as written start; empty without one."""
        return ()

    @classmethod
    def settled(cls, params: P) -> P:
        """Return parameters completed by facts that are read once, before a trial starts. Raises
        `ConfigError`."""
        return params

    @classmethod
    def follows(cls, params: P) -> tuple[str, ...]:
        """Return the kinds of artefacts that earlier stages must have made, read here or not."""
        return cls.reads(params)

    @classmethod
    def known_as(cls, params: P) -> tuple[str, str] | None:
        """Return the method and the backbone that tables show of a trial with this stage; None for a stage
        that says nothing of them. A classifier's go before those of a network that learns from masks."""
        return None

    @classmethod
    def makes(cls, params: P) -> str:
        """Return the kind of artefact that it makes."""
        return cls.name

    @classmethod
    def check_sources(cls, params: P, sources: Mapping[str, Params]) -> None:
        """Raise `ConfigError` for inputs that it can't read. `sources` are the parameters that they were made
        with, by kind of artefact."""

    @classmethod
    def revision(cls, params: P, sources: Mapping[str, Params]) -> int:
        """Return how often the result of these parameters was repaired while the results of others stayed.
        Part of the key unless 0. `sources` are the parameters of its inputs, by kind of artefact."""
        return 0

    @classmethod
    @abstractmethod
    def consumes(cls, params: P, data: Any) -> Mapping[str, str]:
        """Return what it reads of a `DataView` besides its inputs, as name → fingerprint. Part of the key.
        Raises `ConfigError` for parameters that the data or the networks don't allow."""

    @classmethod
    def foreign(cls, raw: Mapping[str, Any], data: Any) -> dict[str, Mapping[str, Any]]:
        """Return the files of other programs that parameters as written name: folder → image → path."""
        return {}

    @classmethod
    def supervision(cls, params: Mapping[str, Any]) -> tuple[str, ...] | None:
        """Return the kinds of labels that its result rests on besides those of its inputs and its network, as
        `wsss.config.params.supervision` names them; None where its parameters don't tell.

        Args:
            params: as a record has them.
        """
        return cls.rests_on

    @classmethod
    def weights_rest_on(cls, backbone: str) -> tuple[str, ...] | None:
        """Return what the weights that come with a network have learnt from; None where nobody says."""
        return ("image",)

    @classmethod
    def trained(cls, params: P) -> tuple[int, int]:
        """Return for how many epochs, and for how many updates of its weights, its network is trained: one of
        both, or (0, 0) without a network."""
        updates = getattr(params, "iterations", None) or 0
        return (0, updates) if updates else (getattr(params, "epochs", None) or 0, 0)

    @classmethod
    def images(cls, params: P) -> tuple[str, ...]:
        """Return the names of the lists of images that it works on."""
        return cls.lists

    @classmethod
    def leaves_out_select(cls, params: P) -> bool:
        """Whether its artefact lacks the `select` images, so that no search can choose by it."""
        return False

    @classmethod
    def drawn_masks(cls, params: P) -> int:
        """Return how many pixel masks it draws to learn from. What follows from it is not scored on their
        images."""
        return 0

    @classmethod
    def mutable(cls) -> tuple[str, ...]:
        """Return the parameters that may change between two epochs, of a stage that is judged."""
        return ()

    @classmethod
    def small(cls, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Return parameters as written, with as little work as still shows that the stage runs
        (`--smoke`)."""
        return dict(raw)

    @classmethod
    def results(cls, record: Mapping[str, Any]) -> dict[str, float]:
        """Return the numbers that stand beside a trial's scores, by name, from an artefact's record."""
        return {}

    @classmethod
    def shown(cls, record: Mapping[str, Any]) -> dict[str, str]:
        """Return the files of an artefact that MLflow keeps, by the ending of their names there."""
        return {}

    # How much work it is: see `wsss.pipeline.forecasts.effort`.

    @classmethod
    def pixels(cls, params: P, photo: float) -> float:
        """Return the pixels of an image as it sees it; `photo` are those of a photo, on average."""
        if crop := getattr(params, "crop", None):
            return float(crop) ** 2
        if size := getattr(params, "size", None):
            return 0.75 * float(size) ** 2  # its long side, at 4 to 3
        return photo

    @classmethod
    def passes(cls, params: P, facts: Mapping[str, Any]) -> float:
        """Return how often it works on each pixel of each image, in any unit. `facts` are those of its
        record, `images` and `notes` among them."""
        return float(max(1, getattr(params, "epochs", 1)))

    @classmethod
    def alike(cls, params: P) -> tuple[Any, ...]:
        """Return what else must be equal for two times to be comparable."""
        return ()

    @classmethod
    def placed(cls, params: P) -> Place:
        """Return where the work is done."""
        return cls.place

    @classmethod
    def notes(cls, params: P, sources: Mapping[str, Params]) -> dict[str, Any]:
        """Return facts about the work for its record, which follow from the parameters of its inputs
        (`sources`, by kind of artefact)."""
        return {}

    @classmethod
    def stage(cls) -> Any:
        """Return the class that does the work, a subclass of `wsss.stages.contract.Stage`."""
        return loaded(cls.work)


STAGES: Registry[type[StageKind[Any]]] = Registry("stage", "wsss.stages.kinds")
"""Every stage there is."""


def study_stages() -> tuple[str, ...]:
    """Return the stages that a study file may name."""
    return tuple(kind.name for kind in STAGES.values() if kind.named_in_studies)


def made_kind(stage: str, params: Mapping[str, Any]) -> str:
    """Return the kind of artefact that a stage made, by its name and its parameters as a record has them; the
    stage's name for parameters that are no longer valid."""
    kind = STAGES.get(stage)
    if kind is None or not kind.may_make:
        return stage
    try:
        return kind.makes(kind.model().model_validate(dict(params)))
    except ValidationError:
        return stage


def scored_as(kind: str) -> Scored | None:
    """Return how a kind of artefact is scored; None if it isn't, or if no stage of that name is
    registered."""
    found = STAGES.get(kind)
    return None if found is None else found.scored


def scored_kinds() -> tuple[str, ...]:
    """Return the kinds of artefacts that are scored, in the order of tables."""
    found = [(kind.scored.order, kind.name) for kind in STAGES.values() if kind.scored is not None]
    return tuple(name for _, name in sorted(found))
