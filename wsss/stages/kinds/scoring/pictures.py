"""What is known of `pictures`: a few photos with maps and masks, where there is no truth to compare with."""

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
    """What is shown: the kind of artefact."""

    kind: str

    @property
    def how(self) -> Scored:
        """How it would be scored: as maps, or as masks."""
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
    """Return the photos that are shown: some of those with labels, evenly spaced."""
    ids = data.labelled_ids
    return ids[:: max(1, -(-len(ids) // PHOTOS))]
