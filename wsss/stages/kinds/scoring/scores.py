"""The facts of stage `scores`: a comparison with ground truth; it follows every artefact that can be
scored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, field_validator

from wsss.config.params.stages import Params
from wsss.config.stage import STAGES, Scored, StageKind, scored_as, scored_kinds
from wsss.errors import ConfigError, Problem, nearest, quoted
from wsss.stages.kinds.training.pixel_head import drawn_images

if TYPE_CHECKING:
    from wsss.data.view import DataView


SCORES_FILE = "scores.json"
"""The file of an artefact of scores that has the numbers of tables."""
CONFUSIONS_FILE = "confusions.npz"
"""That with each image's confusions."""
CURVES_FILE = "curves.npz"
"""That of CAMs with each image's counts at every threshold that may be chosen."""


class ScoresParams(Params):
    """The kind of artefact that is scored."""

    kind: str
    reported_only: bool = False
    """Whether the artefact lacks the `select` images."""
    drawn: int = Field(0, ge=0, le=10**6)
    """How many masks of `select` images have taught a network of the chain; their images are not scored."""
    draw: int = Field(0, ge=0, le=2**32)
    """The seed that drew these masks."""
    switches: ClassVar[tuple[str, ...]] = ("reported_only", "drawn", "draw")

    @field_validator("kind")
    @classmethod
    def _is_scored(cls, kind: str) -> str:
        if scored_as(kind) is None:
            raise ValueError(f"nothing of kind {quoted(kind)} is scored; {nearest(kind, scored_kinds())}")
        return kind

    @property
    def how(self) -> Scored:
        """How the artefact is scored."""
        found = scored_as(self.kind)
        assert found is not None
        return found


def scored_lists(params: ScoresParams) -> tuple[str, ...]:
    """Return the parts that a kind of artefact is scored on; the last one is reported."""
    return (params.how.on,) if params.reported_only else ("select", params.how.on)


def scored_ids(params: ScoresParams, data: DataView) -> dict[str, tuple[str, ...]]:
    """Return the images that a kind of artefact is scored on, by part; the last part is reported.

    Raises `ConfigError` when all `select` images have taught.
    """
    found: dict[str, tuple[str, ...]] = {name: getattr(data, name) for name in scored_lists(params)}
    if params.drawn and "select" in found:
        taught = set(drawn_images(data, params.drawn, params.draw))
        found["select"] = tuple(id for id in found["select"] if id not in taught)
        if not found["select"]:
            message = f"are {params.drawn}, which leaves none of the `select` images to choose by"
            hint = "draw fewer, or say `data.teach`: images whose masks are for nothing else"
            raise ConfigError(Problem("supervision.masks", message, hint))
    return found


@STAGES.register
class Scores(StageKind[ScoresParams]):
    name = "scores"
    params = ScoresParams
    work = "wsss.stages.scoring.scores:Scores"
    rests_on = ()
    version = 3
    named_in_studies = False
    place = "serial"
    grows = "images"

    @classmethod
    def reads(cls, params: ScoresParams) -> tuple[str, ...]:
        return (params.kind,)

    @classmethod
    def consumes(cls, params: ScoresParams, data: DataView) -> Mapping[str, str]:
        return {name: data.mask_key(ids) for name, ids in scored_ids(params, data).items()}

    @classmethod
    def images(cls, params: ScoresParams) -> tuple[str, ...]:
        return scored_lists(params)

    @classmethod
    def alike(cls, params: ScoresParams) -> tuple[Any, ...]:
        return (params.kind,)
