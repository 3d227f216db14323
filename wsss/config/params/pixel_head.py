"""The parameters of a pixel head: a small network on frozen features that learns where classes are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from wsss.config.params.base import (
    LongSide,
    NonNegativeFloat,
    Params,
    PositiveFloat,
    Scales,
    wrong,
)
from wsss.errors import quoted

MOST_DRAWN = 100_000
TEACHERS = ("pseudo_masks", "masks")


class DrawnMasks(Params):
    """A few pixel masks that teach, drawn at random, in turn for each class."""

    masks: Annotated[int, Field(ge=1, le=MOST_DRAWN)]
    """How many photos' masks, over all classes."""


def _teacher(raw: Any) -> Any:
    """Refuse with one message what is no `supervision`; pydantic writes one for each kind in a union."""
    if isinstance(raw, DrawnMasks) or (isinstance(raw, str) and raw in TEACHERS):
        return raw
    if isinstance(raw, str):
        raise wrong(f"`supervision` is {quoted(raw)}", near=raw, to=TEACHERS)
    count = raw.get("masks") if isinstance(raw, Mapping) and set(raw) == {"masks"} else None
    if type(count) is int and 1 <= count <= MOST_DRAWN:
        return raw
    expected = "must be pseudo_masks, masks (all of `train`) or {masks: 25}"
    raise wrong(
        f"`supervision` is {quoted(raw)}, but {expected}", f"whole numbers of masks from 1 to {MOST_DRAWN}"
    )


class PixelHeadParams(Params):
    """Three dilated convolutions on frozen features of the classifier before it, taught pixel by pixel."""

    supervision: Annotated[Literal["pseudo_masks", "masks"] | DrawnMasks, BeforeValidator(_teacher)] = (
        "pseudo_masks"
    )
    """`pseudo_masks`: those of the chain. `{masks: 25}`: so many true masks, of images that are scored
    nowhere. `masks`: those of all training images, as a bound."""
    learns: Literal["classes", "foreground"] = "classes"
    """`foreground`: the head says whether a pixel shows any object; the classifier says which."""
    size: LongSide = 512
    """Long side, in pixels, of the largest picture that the network sees; smaller photos keep their size."""
    scales: Scales = (1.0,)
    """Sizes at which the head learns from a photo, as shares of `size`; each is mirrored, too."""
    photos: Annotated[int, Field(ge=1, le=10_000)] = 500
    """Most photos that teach: the first by the SHA-256 of their ids. Their features lie on the disk."""
    channels: Annotated[int, Field(ge=1, le=4096)] = 64
    iterations: Annotated[int, Field(gt=0, le=1_000_000)] = 400
    """Updates of the weights."""
    batch: Annotated[int, Field(ge=1, le=1024)] = 4
    lr: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 1e-4
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the features' channels that are zeroed while it learns."""

    @property
    def drawn(self) -> int:
        """How many masks are drawn; 0 for any other supervision."""
        return self.supervision.masks if isinstance(self.supervision, DrawnMasks) else 0


class ProbabilitiesParams(Params):
    """What a segmentation network gives to each class that a photo's labels name, as maps."""

    scales: Scales | None = None
    """Scales at which a photo is segmented; the largest of its logits counts. `null`: the scales of the
    training."""
    flip: bool = True
    """Whether the mirrored photo counts, too."""
