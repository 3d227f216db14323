"""What every backbone is, and the list of those there are.

A backbone declares what others would otherwise have to guess: channels, output stride, taps (places
where features can be read, mixed or frozen up to), input statistics and which early part is kept as
it was pretrained.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import relu

from wsss.errors import ConfigError, Problem, nearest
from wsss.plugins import Registry

Statistics = tuple[float, float, float]
Change = Callable[[Tensor], Tensor]
DENSE_STRIDE = 8


@dataclass(frozen=True)
class Tap:
    """A named place in a backbone: its features have `channels` and lie on a grid of `stride`."""

    name: str
    channels: int
    stride: int


class Backbone(nn.Module, ABC):
    """A feature extractor: float32[B, 3, H, W] → float32[B, channels, ⌈H/stride⌉, ⌈W/stride⌉].

    The input is RGB in [0, 1], normalised with `mean` and `std`. Batch normalisation always uses
    its pretrained running statistics, here and in training: batches are small and mixed images have
    other statistics than photos.
    """

    name: ClassVar[str]
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
    head: ClassVar[str] = "convolution"
    """The head that makes class maps of its features unless a study names another; see `wsss.models.head`."""
    frozen_norms: ClassVar[bool] = False
    """Whether scale and shift of batch normalisation never learn either."""

    @abstractmethod
    def segments(self) -> list[nn.Module]:
        """Return the modules between taps: applied one after the other, each ends at its tap."""

    @abstractmethod
    def load_weights(self, weights: str) -> None:
        """Load pretrained weights: `package`, `download` or a file. Raises `ConfigError`."""

    def forward(self, x: Tensor, at: str = "", change: Change | None = None) -> Tensor:
        """Return the last features, float32[B, channels, h, w].

        Args:
            x: images, float32[B, 3, H, W].
            at: a tap's name.
            change: maps the features at that tap to others of their shape, which then go on.
        """
        for tap, segment in zip(self.taps, self.segments(), strict=True):
            x = segment(x)
            if change is not None and tap.name == at:
                x = change(x)
        return x

    def forward_taps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the features at every tap, by name, in the order of `taps`."""
        features = {}
        for tap, segment in zip(self.taps, self.segments(), strict=True):
            x = features[tap.name] = segment(x)
        return features

    def forward_readings(self, x: Tensor, taps: Collection[str]) -> dict[str, Tensor]:
        """Return what heads read at these taps, by name, in the order of the backbone's own.

        Those are the features, or, where the next block begins with a normalisation of them (`next_norms`),
        ReLU(norm(features)): AffinityNet (Ahn and Kwak, CVPR 2018) reads its ResNet-38 there.
        """
        features = self.forward_taps(x)
        return {name: self._reading(name, at) for name, at in features.items() if name in taps}

    def _reading(self, tap: str, features: Tensor) -> Tensor:
        norm = self.next_norms.get(tap)
        return features if norm is None else relu(self.get_submodule(norm)(features))

    def class_token(self, x: Tensor) -> Tensor:
        """Return the token of the whole image, float32[B, channels], of a backbone that has one."""
        raise NotImplementedError(f"{self.name} has no class token")

    def freeze(self, spec: str) -> None:
        """Stop everything up to and including a tap from learning.

        `default` is what the backbone declares, `none` nothing, `all` everything. Raises
        `ConfigError` for a tap that doesn't exist.
        """
        names = [tap.name for tap in self.taps]
        name = self.default_freeze if spec == "default" else spec
        name = names[-1] if name == "all" else name
        if name != "none" and name not in names:
            choices = ["default", "none", "all", *names]
            raise ConfigError(Problem("freeze", f"{self.name} has no tap {spec!r}", nearest(spec, choices)))
        count = 0 if name == "none" else names.index(name) + 1
        for number, segment in enumerate(self.segments()):
            segment.requires_grad_(number >= count)
        if self.frozen_norms:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.requires_grad_(False)

    def train(self, mode: bool = True) -> Backbone:
        """Set the mode; batch normalisation stays in evaluation mode."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self


BACKBONES: Registry[type[Backbone]] = Registry("backbone", "wsss.models.backbones")
register = BACKBONES.register
_FAMILIES: dict[str, Callable[[str], type[Backbone]]] = {}


def register_family(prefix: str, make: Callable[[str], type[Backbone]]) -> None:
    """Make all backbones whose names begin with `prefix` available; `make` returns the class of one."""
    _FAMILIES[prefix] = make


def backbone_names() -> tuple[str, ...]:
    """Return the names of all backbones."""
    return BACKBONES.names()


def backbone_class(name: str) -> type[Backbone]:
    """Return a backbone's class. Raises `ConfigError` with the nearest name."""
    found = BACKBONES.get(name)
    if found is not None:
        return found
    for prefix, make in _FAMILIES.items():
        if name.startswith(prefix):
            return make(name)
    return BACKBONES[name]


@functools.cache
def dense_class(name: str) -> type[Backbone]:
    """Return the class of a backbone at output stride 8, as segmentation wants it: later layers keep the
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


def create_backbone(name: str, weights: str, *, dense: bool = False) -> Backbone:
    """Return a backbone. Raises `ConfigError` for an unknown name, with the nearest, and for weights of
    another network.

    Args:
        name: one of `backbone_names()`, or `timm/NAME`.
        weights: `package`, `download` or a file (see `wsss.models.weights`); random ones for `none`.
        dense: whether to build it at output stride 8.

    Examples:
        >>> import torch
        >>> from wsss.models import create_backbone
        >>> backbone = create_backbone("mobilenet_v2", "none").eval()
        >>> tuple(backbone(torch.zeros(1, 3, 64, 96)).shape), backbone.channels, backbone.stride
        ((1, 1280, 4, 6), 1280, 16)
    """
    backbone = dense_class(name)() if dense else backbone_class(name)()
    if weights != "none":
        backbone.load_weights(weights)
    backbone.train(backbone.training)
    return backbone
