"""A study's `data`, and what is known of a kind of data set without opening one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from wsss.config.params.base import Folder, Group, PositiveInt, Seed, Word
from wsss.config.params.registered import NameIn
from wsss.config.text.paths import absolute
from wsss.plugins import Registry


class DataSetKind(ABC):
    """The facts of a kind of data set. A subclass says what differs. `spec` is a study's `DataSpec`."""

    name: ClassVar[str]
    described: ClassVar[str]
    """What it is, in words: "the drawn sample set"."""
    keys: ClassVar[tuple[str, ...]] = ()
    """Keys of `data` that not every data set has, and this one has: of `labels` and `masks`."""
    defaults: ClassVar[Mapping[str, Any]] = {}
    """What a study's `data` has where it says nothing."""
    needs_root: ClassVar[bool] = True
    """Whether `root` has to name its folder."""

    @classmethod
    def scored(cls, spec: Any) -> bool:
        """Return whether there are masks to score with, once paths are resolved."""
        return True

    @classmethod
    def resolved(cls, spec: Any, root: Path | None) -> dict[str, Any]:
        """Return what else follows from the paths, as keys of `data`; `root` is absolute."""
        return {}

    @classmethod
    def small(cls, spec: Any) -> dict[str, Any]:
        """Return the keys of `data` that make it small (`--smoke`)."""
        return {}

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """Return whether a folder is one of this kind by what lies in it, for `data check`."""
        return False

    @classmethod
    @abstractmethod
    def open(cls, spec: Any, storage: Path) -> Any:
        """Return the data set, a `wsss.data.photo_set.PhotoSet`; what it makes itself lies in `storage`."""


DATA_SETS: Registry[type[DataSetKind]] = Registry("data set", "wsss.data.sets")


DataSetName = Annotated[str, NameIn(DATA_SETS)]


class SplitSpec(Group):
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


class SampleSpec(Group):
    """How large the embedded sample set is drawn."""

    train: Annotated[int, Field(gt=0, le=100_000)] = 160
    val: Annotated[int, Field(gt=0, le=100_000)] = 80
    size: Annotated[int, Field(ge=64, le=1024)] = 128
    seed: Seed = 0


Leak = Literal["train_on_masks", "select_on_report", "train_on_test"]
"""What makes a number optimistic, and is therefore refused unless a study asks for it by name."""


class DataSpec(Group):
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
    teach: SplitSpec | None = None
    """Images whose masks may be learnt from (`pixel_head: {supervision: {masks: 25}}`); they leave all lists
    that are scored. None: such masks are drawn from `select`, and leave what that network is scored on."""
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
        """Whether there are masks to score with, once paths are resolved: not where all of them teach."""
        return self.has_masks and not all(self._taken(part) for part in (self.select, self.report))

    @property
    def has_masks(self) -> bool:
        """Whether there are masks at all, once paths are resolved."""
        return DATA_SETS[self.dataset].scored(self)

    def _taken(self, part: SplitSpec) -> bool:
        """Whether all images of a part are among those whose masks teach."""
        teach = self.teach
        return teach is not None and teach.split == part.split and teach.half in (None, part.half)

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
