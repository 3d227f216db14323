"""The facts of stage `import`: CAMs, masks or segmentations that another program made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from wsss.config.params.stages import ImportParams
from wsss.config.stage import STAGES, StageKind
from wsss.errors import ConfigError, Problem

if TYPE_CHECKING:
    from wsss.data.view import DataView

Files = Literal["cams", "masks", "segmentations"]


@STAGES.register
class Import(StageKind[ImportParams]):
    name = "import"
    params = ImportParams
    work = "wsss.stages.programs.imported:Import"
    elsewhere = True
    may_make = ("cams", "pseudo_masks", "segmentations")
    paths = ("cams", "masks", "segmentations")
    lists = ("labelled_ids",)
    place = "serial"

    @classmethod
    def makes(cls, params: ImportParams) -> str:
        return params.kind

    @classmethod
    def consumes(cls, params: ImportParams, data: DataView) -> Mapping[str, str]:
        from wsss.masks.foreign import foreign_files

        kind, folder = source(params)
        ids = imported_ids(kind, data)
        images = data.photo_key(ids) if kind == "segmentations" else data.image_key(ids)
        return {"images": images, "files": data.file_key(foreign_files(folder, ids, kind))}

    @classmethod
    def images(cls, params: ImportParams) -> tuple[str, ...]:
        return ("test",) if params.kind == "segmentations" else cls.lists

    @classmethod
    def leaves_out_select(cls, params: ImportParams) -> bool:
        return params.kind == "segmentations"

    @classmethod
    def foreign(cls, raw: Mapping[str, Any], data: DataView) -> dict[str, Mapping[str, Path]]:
        from wsss.masks.foreign import foreign_files

        kinds: tuple[Files, ...] = get_args(Files)
        given = {kind: raw[kind] for kind in kinds if isinstance(raw.get(kind), str)}
        return {
            folder: foreign_files(Path(folder), imported_ids(kind, data), kind)
            for kind, folder in given.items()
            if not folder.startswith("$")
        }

    @classmethod
    def alike(cls, params: ImportParams) -> tuple[Any, ...]:
        return (params.kind,)


def source(params: ImportParams) -> tuple[Files, Path]:
    """Return the kind of the imported files, and their folder."""
    for kind in get_args(Files):
        folder = getattr(params, kind)
        if folder is not None:
            return kind, folder
    raise AssertionError("the parameters have one of them")


def imported_ids(kind: Files, data: DataView) -> tuple[str, ...]:
    """Return the images that must have a file. Raises `ConfigError` where `test` is missing."""
    if kind != "segmentations":
        return data.labelled_ids
    if not data.test:
        message = "`segmentations` are scored on `data.test`, which is missing"
        raise ConfigError(Problem("import", message, "such as `test: {split: val}`"))
    return data.test
