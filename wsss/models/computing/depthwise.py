"""Dilated depthwise convolutions without torch's slow paths on CPUs.

A dilated convolution never mixes cells whose rows or columns differ by no multiple of the dilation d: on each
of the d² phases of the grid it is a plain one. Torch has fast kernels for plain depthwise convolutions; it
has none for gradients of dilated ones, nor for their result where they reach far.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d, pad
from torch.nn.grad import conv2d_weight

SLOW_REACH = 8
"""Cells that a kernel reaches to each side, from where on torch's result is slow to come as well."""


class PhasedConv2d(nn.Conv2d):
    """A dilated depthwise convolution of stride 1 that keeps its grid: on a CPU, phase by phase."""

    def forward(self, input: Tensor) -> Tensor:
        # An exported program takes photos of any size; phases would tie it to one.
        if input.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(input)
        apply: Any = _Phased.apply  # torch gives it no types
        result: Tensor = apply(input, self.weight, self.bias, self.dilation[0])
        return result


class _Phased(torch.autograd.Function):
    """The convolution of float[B, C, H, W] with float[C, 1, k, k] and a dilation."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        return convolve(x, weight, bias, dilation)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = convolve(gradient, weight.flip(2, 3), None, ctx.dilation)
        if ctx.needs_input_grad[1]:
            parts = (phases(x, ctx.dilation), weight.shape, phases(gradient, ctx.dilation))
            half = weight.shape[2] // 2
            of_weight = conv2d_weight(*parts, padding=half, groups=len(weight))
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum((0, 2, 3))
        return of_x, of_weight, of_bias, None


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    """Return the depthwise convolution float[B, C, H, W] of features of that shape, the quicker way.

    Args:
        x: the features.
        weight: float[C, 1, k, k], k odd.
        bias: float[C].
        dilation: d, the distance between two cells that meet.
    """
    half = weight.shape[2] // 2
    if half * dilation < SLOW_REACH:
        return conv2d(x, weight, bias, 1, half * dilation, dilation, len(weight))
    parts = conv2d(phases(x, dilation), weight, bias, padding=half, groups=len(weight))
    return whole(parts, dilation, (x.shape[2], x.shape[3]))


def phases(x: Tensor, dilation: int) -> Tensor:
    """Return the d² phases of features float[B, C, H, W], float[B·d², C, ⌈H/d⌉, ⌈W/d⌉], channels last; where
    the grid ends within a phase, it goes on with zeros, as it does beyond the edge."""
    batch, channels, height, width = x.shape
    x = pad(x, (0, -width % dilation, 0, -height % dilation))
    rows, columns = x.shape[2] // dilation, x.shape[3] // dilation
    cells = x.permute(0, 2, 3, 1).reshape(batch, rows, dilation, columns, dilation, channels)
    parts = cells.permute(0, 2, 4, 1, 3, 5).reshape(-1, rows, columns, channels)
    return parts.permute(0, 3, 1, 2)


def whole(parts: Tensor, dilation: int, size: tuple[int, int]) -> Tensor:
    """Return the features float[B, C, H, W] of a size (H, W) whose `phases` these are."""
    count, channels, rows, columns = parts.shape
    batch = count // dilation**2
    cells = parts.permute(0, 2, 3, 1).reshape(batch, dilation, dilation, rows, columns, channels)
    joined = cells.permute(0, 3, 1, 4, 2, 5).reshape(batch, rows * dilation, columns * dilation, channels)
    return joined.permute(0, 3, 1, 2)[:, :, : size[0], : size[1]]


def use_phases(network: nn.Module) -> None:
    """Make phased convolutions of a network's dilated depthwise ones, which keep their weights."""
    for module in network.modules():
        if is_dilated_depthwise(module):
            # A new module would draw weights of its own, and so shift all that are drawn after it.
            module.__class__ = PhasedConv2d


def is_dilated_depthwise(module: nn.Module) -> bool:
    """Whether `PhasedConv2d` computes what a module does."""
    if type(module) is not nn.Conv2d or module.groups != module.in_channels:
        return False
    dilation, size = module.dilation[0], module.kernel_size[0]
    return (
        module.in_channels == module.out_channels
        and dilation > 1
        and size % 2 == 1
        and module.stride == (1, 1)
        and module.dilation == (dilation, dilation)
        and module.kernel_size == (size, size)
        and module.padding == (dilation * (size // 2),) * 2
        and module.padding_mode == "zeros"
    )
