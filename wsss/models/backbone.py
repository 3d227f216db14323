"""What the network of every backbone is; what is known of it without torch is in `wsss.models.kind`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection

from torch import Tensor, nn
from torch.nn.functional import relu

from wsss.errors import ConfigError, Problem
from wsss.models.computing.depthwise import use_phases
from wsss.models.computing.precision import Precision
from wsss.models.kind import BackboneKind, Statistics, backbone_class, dense_class, freeze_problem

Change = Callable[[Tensor], Tensor]


class Backbone(BackboneKind, nn.Module, ABC):
    """A feature extractor: float32[B, 3, H, W] → float32[B, channels, ⌈H/stride⌉, ⌈W/stride⌉].

    The input is RGB in [0, 1], normalised with `mean` and `std`. Batch normalisation always uses
    its pretrained running statistics, here and in training: batches are small and mixed images have
    other statistics than photos.
    """

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
        """Return the token of the whole image, float32[B, channels]. Raises `ConfigError` without one."""
        raise ConfigError(Problem("class_token", f"{self.name} has no class token"))

    def freeze(self, spec: str) -> None:
        """Stop everything up to and including a tap from learning.

        `default` is what the backbone declares, `none` nothing, `all` everything. Raises
        `ConfigError` for a tap that doesn't exist.
        """
        problem = freeze_problem(type(self), spec)
        if problem is not None:
            raise ConfigError(problem)
        names = [tap.name for tap in self.taps]
        name = self.default_freeze if spec == "default" else spec
        name = names[-1] if name == "all" else name
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


class BackboneNetwork(nn.Module):
    """A network that stands on a backbone, and takes the input that the backbone takes."""

    backbone: Backbone
    precision: Precision = Precision()
    """In which numbers it computes on a GPU."""

    @property
    def mean(self) -> Statistics:
        """Of each channel of its input, in [0, 1]."""
        return self.backbone.mean

    @property
    def std(self) -> Statistics:
        """Of each channel of its input."""
        return self.backbone.std


def create_backbone(name: str, weights: str, *, dense: bool = False) -> Backbone:
    """Return a backbone. Raises `ConfigError` for an unknown name, with the nearest, and for weights of
    another network.

    Args:
        name: one of `backbone_names()`, or `timm/NAME`.
        weights: `package`, `download` or a file (see `wsss.models.pretrained`); random ones for `none`.
        dense: whether to build it at output stride 8.

    Examples:
        >>> import torch
        >>> from wsss.models import create_backbone
        >>> backbone = create_backbone("mobilenet_v2", "none").eval()
        >>> tuple(backbone(torch.zeros(1, 3, 64, 96)).shape), backbone.channels, backbone.stride
        ((1, 1280, 4, 6), 1280, 16)
    """
    backbone = (dense_class(name) if dense else backbone_class(name)).network()()
    use_phases(backbone)
    if weights != "none":
        backbone.load_weights(weights)
    backbone.train(backbone.training)
    return backbone
