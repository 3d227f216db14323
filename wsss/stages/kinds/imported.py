"""What is known of `import`: CAMs or masks that another program made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wsss.config.params.stages import ImportParams
from wsss.config.stage import STAGES, StageKind

if TYPE_CHECKING:
    from wsss.data.view import DataView

Files = Literal["cams", "masks"]


@STAGES.register
class Import(StageKind[ImportParams]):
    name = "import"
    params = ImportParams
    work = "wsss.stages.imported:Import"
    may_make = ("cams", "pseudo_masks")
    paths = ("cams", "masks")
    lists = ("labelled_ids",)
    place = "serial"

    @classmethod
    def makes(cls, params: ImportParams) -> str:
        return params.kind

    @classmethod
    def consumes(cls, params: ImportParams, data: DataView) -> Mapping[str, str]:
        from wsss.masks.foreign import foreign_files

        kind, folder = source(params)
        files = foreign_files(folder, data.labelled_ids, kind)
        return {"images": data.image_key(data.labelled_ids), "files": data.file_key(files)}

    @classmethod
    def foreign(cls, raw: Mapping[str, Any], data: DataView) -> dict[str, Mapping[str, Path]]:
        from wsss.masks.foreign import foreign_files

        kinds: tuple[Files, ...] = ("cams", "masks")
        given = {kind: raw[kind] for kind in kinds if isinstance(raw.get(kind), str)}
        return {
            folder: foreign_files(Path(folder), data.labelled_ids, kind)
            for kind, folder in given.items()
            if not folder.startswith("$")
        }

    @classmethod
    def alike(cls, params: ImportParams) -> tuple[Any, ...]:
        return (params.kind,)


def source(params: ImportParams) -> tuple[Files, Path]:
    """Return what is imported, and the folder that it is in."""
    if params.cams is not None:
        return "cams", params.cams
    assert params.masks is not None
    return "masks", params.masks
