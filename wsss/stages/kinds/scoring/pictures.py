"""The facts of stage `pictures`: a few photos with maps and masks, for studies without ground truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wsss.config.params.base import Params
from wsss.config.stage import STAGES, Scored, StageKind, scored_as

if TYPE_CHECKING:
    from wsss.data.view import DataView

PHOTOS = 8
OVERLAYS = "overlays.png"


class PicturesParams(Params):
    """The kind of artefact that the pictures show."""

    kind: str

    @property
    def how(self) -> Scored:
        """Whether the artefact holds maps or masks."""
        found = scored_as(self.kind)
        assert found is not None
        return found


@STAGES.register
class Pictures(StageKind[PicturesParams]):
    name = "pictures"
    params = PicturesParams
    work = "wsss.stages.scoring.unscored:Pictures"
    rests_on = ()
    named_in_studies = False
    place = "serial"
    grows = ""
    lists = ("labelled_ids",)

    @classmethod
    def reads(cls, params: PicturesParams) -> tuple[str, ...]:
        return (params.kind,)

    @classmethod
    def consumes(cls, params: PicturesParams, data: DataView) -> Mapping[str, str]:
        return {"images": data.photo_key(shown_ids(data))}

    @classmethod
    def shown(cls, record: Mapping[str, Any]) -> dict[str, str]:
        return {f"/{OVERLAYS}": OVERLAYS}

    @classmethod
    def alike(cls, params: PicturesParams) -> tuple[Any, ...]:
        return (params.kind,)


def shown_ids(data: DataView) -> tuple[str, ...]:
    """Return the photos of the pictures: some of those with labels, evenly spaced."""
    ids = data.labelled_ids
    return ids[:: max(1, -(-len(ids) // PHOTOS))]
