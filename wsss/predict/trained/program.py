"""An exported network read back: a `torch.export` program, used like the network it was made from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from wsss.errors import ConfigError, Problem, first_line
from wsss.models.networks.deeplab import scaled
from wsss.models.networks.pixel_head import fitted
from wsss.predict.trained.untrusted import checked_archive

ABOUT = "wsss.json"


class ExportedNetwork(nn.Module):
    """A program read back, used like the network it was made from."""

    def __init__(self, program: nn.Module, about: dict[str, Any]) -> None:
        super().__init__()
        self.program = program
        self.classes = tuple(map(str, about["classes"]))
        self.scales = tuple(map(float, about["scales"]))
        mean, std = about["mean"], about["std"]
        self.mean = (float(mean[0]), float(mean[1]), float(mean[2]))
        self.std = (float(std[0]), float(std[1]), float(std[2]))
        self.multiple = int(about["multiple"])
        self.size: int | None = None if about.get("size") is None else int(about["size"])
        """The long side at which a photo is shown at scale 1; None for its own."""

    def pyramid(self, x: Tensor, scales: Sequence[float]) -> list[Tensor]:
        """Return the logits float32[B, C + 1, h, w] at every scale, each on a grid of its own.

        At a size that isn't a multiple of `multiple` the picture is padded and the logits come pixel by
        pixel, h × w being the picture's own size.
        """
        if self.size is None:
            return [self.logits(scaled(x, scale)) for scale in scales]
        return [self.logits(fitted(x, self.size, scale)) for scale in scales]

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits float32[B, C + 1, h, w] of images float32[B, 3, H, W] at their size."""
        height, width = x.shape[2:]
        below, right = -height % self.multiple, -width % self.multiple
        if not below and not right:
            logits: Tensor = self.program(x)
            return logits
        logits = self.program(pad(x, (0, right, 0, below)))
        grown = interpolate(logits, (height + below, width + right), mode="bilinear", align_corners=False)
        return grown[:, :, :height, :width]


def read_program(path: Path) -> ExportedNetwork:
    """Return the network of a .pt2 file that `export_network` wrote.

    The file is looked through first: one that holds anything but tensors and arithmetic on them is
    refused, as reading it could do anything. Raises `ConfigError`.
    """
    content = checked_archive(path, ABOUT)
    try:
        about = json.loads(content)
        with path.open("rb") as file:
            program = torch.export.load(file)
        return ExportedNetwork(program.module(), about)
    except Exception as error:  # torch raises what it likes for a file of another version
        message = f"can't be read as a program of torch {torch.__version__}: {first_line(error)}"
        raise ConfigError(Problem(str(path), message, "export it again")) from error
