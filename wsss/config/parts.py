"""Parts that a classifier is put together from and that other packages may add to: ways to mix and to hide,
regularisers.

What is here is cheap to import; parts import torch where they work.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar, Generic, TypeVar

from wsss.config.params.base import NonNegativeFloat, Params, Probability
from wsss.config.params.registered import NameIn
from wsss.plugins import Registry

NOT_MIXED = "none"


class RegulariserParams(Params):
    """The group of a regulariser's parameters in those of a classifier, under the regulariser's name."""

    weight: NonNegativeFloat = 0.0

    @property
    def off(self) -> bool:
        return not self.weight


class HidingParams(Params):
    """The group of a way to hide in the parameters of a classifier, under its name."""

    probability: Probability = 0.0
    """Share of the images of which something is hidden."""

    @property
    def off(self) -> bool:
        return not self.probability


G = TypeVar("G", bound=RegulariserParams)
H = TypeVar("H", bound=HidingParams)


class Regulariser(ABC, Generic[G]):
    """A term of the objective besides the classification loss, added with its weight unless that is 0."""

    name: ClassVar[str]
    params: ClassVar[type[RegulariserParams]]
    needs_maps: ClassVar[bool] = False
    """Whether it looks at class maps."""
    rests_on: ClassVar[tuple[str, ...]] = ()
    """Kinds of labels that it brings in, such as `text` with a network of its own that has learnt from texts;
    names as in `wsss.config.params.supervision`."""

    @classmethod
    @abstractmethod
    def term(cls, params: G, batch: Any) -> Any:
        """Return the unweighted term, a scalar of float32, of a `wsss.methods.objective.Batch`."""


class WayToMix:
    """How two images of a batch become one."""

    name: ClassVar[str]
    alpha: ClassVar[float] = 0.2
    """The `alpha` of a study that says none."""
    at_taps: ClassVar[bool] = False
    """Whether features are mixed at one of `taps`, drawn for every batch, instead of images."""

    @classmethod
    def shares(cls, params: Any, size: tuple[int, int], weights: Any, rng: Any) -> Any:
        """Return the share of the first image in every pixel, float[N, height, width] or [N, 1, 1].

        Args:
            params: `MixingParams`.
            size: height and width of the images in pixels.
            weights: float64[N] in [0, 1], the shares that were drawn, one an image or one for all.
            rng: a generator of numpy, for whatever else is drawn.
        """
        return weights[:, None, None]


class WayToHide(ABC, Generic[H]):
    """How a part of an image is hidden from the classifier; the labels stay."""

    name: ClassVar[str]
    params: ClassVar[type[HidingParams]]

    @classmethod
    @abstractmethod
    def hide(cls, params: H, image: Any, rng: Any) -> Any:
        """Return what is left of an image, float32[3, H, W]; 0 is the mean colour. The image itself stays.

        Args:
            params: the group of parameters.
            image: float32[3, H, W] on the CPU, normalised.
            rng: a generator of numpy, for all that is drawn.
        """


REGULARISERS: Registry[type[Regulariser[Any]]] = Registry("regulariser", "wsss.methods.terms")
MIXINGS: Registry[type[WayToMix]] = Registry("way to mix", "wsss.methods.ways")
HIDINGS: Registry[type[WayToHide[Any]]] = Registry("way to hide", "wsss.methods.hiding")


MixingKind = Annotated[str, NameIn(MIXINGS, (NOT_MIXED,))]
"""The name of a way to mix, or `none`."""
