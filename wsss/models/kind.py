"""What is known of a backbone without building it, and the list of those there are.

A backbone declares what others would otherwise have to guess: channels, output stride, taps (places where
features can be read, mixed or frozen up to), input statistics and which early part is kept as it was
pretrained. Checks and plans ask for no more, so nothing here imports torch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from wsss.errors import ConfigError, Problem, nearest
from wsss.plugins import Registry, loaded

if TYPE_CHECKING:
    from wsss.models.backbone import Backbone

Statistics = tuple[float, float, float]
DENSE_STRIDE = 8
CONVOLUTION = "convolution"
"""The head of most backbones; see `wsss.models.heads.convolution`."""


@dataclass(frozen=True)
class Tap:
    """A named place in a backbone: its features have `channels` and lie on a grid of `stride`."""

    name: str
    channels: int
    stride: int


class BackboneKind:
    """The facts of a backbone. Its network (`wsss.models.backbone.Backbone`) inherits them."""

    name: ClassVar[str]
    work: ClassVar[Any] = None
    """Where the network is: "module:Class". None for a class that is the network itself."""
    channels: ClassVar[int]
    stride: ClassVar[int]
    dense: ClassVar[bool] = False
    """Whether it is built at output stride 8 where its class says so: see `dense_class`."""
    taps: ClassVar[tuple[Tap, ...]]
    mean: ClassVar[Statistics] = (0.485, 0.456, 0.406)
    std: ClassVar[Statistics] = (0.229, 0.224, 0.225)
    default_freeze: ClassVar[str]
    affinity_taps: ClassVar[tuple[str, ...]] = ()
    """Three taps, of stride 8 and deeper, that AffinityNet reads; empty where it can't."""
    boundary_taps: ClassVar[tuple[str, ...]] = ()
    """Taps from early to late that a boundary branch reads; empty where it can't."""
    next_norms: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Of a pre-activated backbone: tap → the module with which the next block normalises that tap's sums,
    before it rectifies them. Heads read the result (`forward_readings`), mixing takes the sums themselves."""
    has_class_token: ClassVar[bool] = False
    """Whether it is a transformer with one token for the whole image."""
    rests_on: ClassVar[tuple[str, ...] | None] = None
    """The kinds of labels that its own weights (`package`, `download`) have learnt from, by the names of
    `wsss.config.params.supervision`. None: nobody knows, so that a study has to declare it."""
    head: ClassVar[str] = CONVOLUTION
    """The head that makes class maps of its features unless a study names another; see `wsss.models.head`."""
    frozen_norms: ClassVar[bool] = False
    """Whether scale and shift of batch normalisation never learn either."""
    depthwise: ClassVar[bool] = False
    """Whether it has depthwise convolutions, whose gradients came out in other bits (`revision`)."""

    @classmethod
    def network(cls) -> type[Backbone]:
        """Return the class of the network; importing it needs torch."""
        found: type[Any] = cls if cls.work is None else loaded(cls.work)
        if found.stride != cls.stride:  # dense
            return type(cls.__name__, (found,), {"stride": cls.stride, "taps": cls.taps})
        return found


BACKBONES: Registry[type[BackboneKind]] = Registry("backbone", "wsss.models.kinds")
register = BACKBONES.register
_FAMILIES: dict[str, Callable[[str], type[BackboneKind]]] = {}


FREEZE_WORDS = ("default", "none", "all")
"""What `freeze` may be besides the name of a tap."""


def freeze_problem(kind: type[BackboneKind], spec: str) -> Problem | None:
    """Return what is wrong with a `freeze`, if anything is.

    Args:
        kind: the backbone.
        spec: one of `FREEZE_WORDS`, or the tap up to which nothing learns.
    """
    choices = [*FREEZE_WORDS, *(tap.name for tap in kind.taps)]
    if spec in choices:
        return None
    return Problem("freeze", f"{kind.name} has no tap {spec!r}", nearest(spec, choices))


def register_family(prefix: str, make: Callable[[str], type[BackboneKind]]) -> None:
    """Make all backbones whose names begin with `prefix` available; `make` returns the class of one."""
    _FAMILIES[prefix] = make


def backbone_names() -> tuple[str, ...]:
    """Return the names of all backbones."""
    return BACKBONES.names()


def backbone_class(name: str) -> type[BackboneKind]:
    """Return the facts of a backbone. Raises `ConfigError` with the nearest name."""
    found = BACKBONES.get(name)
    if found is not None:
        return found
    for prefix, make in _FAMILIES.items():
        if name.startswith(prefix):
            return make(name)
    return BACKBONES[name]


def weights_rest_on(name: str) -> tuple[str, ...] | None:
    """Return the kinds of labels that a backbone's own weights have learnt from; None where nobody says, and
    for a name that is none. What a network of timm's has learnt from, its name tells."""
    kind = BACKBONES.get(name)
    return None if kind is None else kind.rests_on


@functools.cache
def dense_class(name: str) -> type[BackboneKind]:
    """Return the facts of a backbone at output stride 8, as segmentation wants it: later layers keep the
    grid and look further apart instead. Raises `ConfigError` for one that can't, naming those that can."""
    kind = backbone_class(name)
    if kind.stride <= DENSE_STRIDE:
        return kind
    if not kind.dense:
        able = [other for other in backbone_names() if can_be_dense(other)]
        message = f"{name} can't be brought to output stride {DENSE_STRIDE}"
        raise ConfigError(Problem("backbone", message, f"one of {', '.join(able)}"))
    taps = tuple(replace(tap, stride=min(tap.stride, DENSE_STRIDE)) for tap in kind.taps)
    return type(f"Dense{kind.__name__}", (kind,), {"stride": DENSE_STRIDE, "taps": taps})


def can_be_dense(name: str) -> bool:
    """Whether a backbone has output stride 8 or can be brought to it."""
    kind = backbone_class(name)
    return kind.dense or kind.stride <= DENSE_STRIDE
