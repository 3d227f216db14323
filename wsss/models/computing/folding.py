"""Batch normalisation put into the convolutions before it, for networks that don't learn any more.

With frozen statistics it is a scale and a shift of every channel, as is a convolution's output layer: one
pass over the features less.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from wsss.models.backbone import Backbone


class _Layers(fx.Tracer):
    """Sees convolutions and normalisations whole, whatever their class."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        leaf = isinstance(m, nn.Conv2d | nn.BatchNorm2d)
        return leaf or super().is_leaf_module(m, module_qualified_name)


@torch.no_grad()
def fold_norms(network: nn.Module) -> None:
    """Fold every normalisation of a network's backbones that alone reads a convolution, in place.

    The result differs by rounding. Learning, or weights of an artefact, don't fit afterwards.
    """
    for backbone in [module for module in network.modules() if isinstance(module, Backbone)]:
        instead: dict[nn.Module, nn.Module] = {}
        for segment in backbone.segments():
            for convolution, norm in _pairs(segment):
                _fold(convolution, norm)
                # timm's normalisations activate as well.
                instead[norm] = getattr(norm, "act", None) or nn.Identity()
        for parent in list(backbone.modules()):
            for name, child in list(parent.named_children()):
                if child in instead:
                    setattr(parent, name, instead[child])


def _pairs(segment: nn.Module) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Return the convolutions that a normalisation reads, and nothing else, with that normalisation."""
    if not any(isinstance(module, nn.BatchNorm2d) for module in segment.modules()):
        return []
    try:
        graph = _Layers().trace(segment)
    except fx.proxy.TraceError:  # what it does depends on the photo: some of timm's
        return []
    pairs = []
    for node in graph.nodes:
        norm, convolution = _layer(segment, node), None
        if isinstance(norm, nn.BatchNorm2d) and len(node.args[0].users) == 1:
            convolution = _layer(segment, node.args[0])
        if isinstance(norm, nn.BatchNorm2d) and isinstance(convolution, nn.Conv2d):
            pairs.append((convolution, norm))
    return pairs


def _layer(segment: nn.Module, node: Any) -> nn.Module | None:
    return segment.get_submodule(node.target) if node.op == "call_module" else None


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    scale = norm.weight.double() / (variance.double() + norm.eps).sqrt()
    shift = norm.bias.double() - mean.double() * scale
    bias: Tensor | None = convolution.bias
    if bias is not None:
        shift = shift + bias.double() * scale
    weight = convolution.weight
    convolution.weight = nn.Parameter((weight.double() * scale.view(-1, 1, 1, 1)).to(weight), False)
    convolution.bias = nn.Parameter(shift.to(weight), False)
