"""What is known of a kind of data set without opening one: `data.dataset` of a study names it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator

from wsss.config.parts import require_name
from wsss.plugins import Registry


class DataSetKind:
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
    def open(cls, spec: Any, storage: Path) -> Any:
        """Return the data set, a `wsss.data.photo_set.PhotoSet`; what it makes itself lies in `storage`."""
        raise NotImplementedError


DATA_SETS: Registry[type[DataSetKind]] = Registry("data set", "wsss.data.sets")


def _known(name: str) -> str:
    return require_name(name, DATA_SETS.names())


DataSetName = Annotated[str, AfterValidator(_known)]
