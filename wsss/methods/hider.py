"""Hiding parts of the images of a batch. Labels stay: what is hidden has to be found elsewhere."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from wsss.config.params.stages import ClassifierParams
from wsss.config.parts import HIDINGS


class Hider:
    """Hides parts of every image, each image with a draw of its own, by all ways that are on.

    Examples:
        >>> from wsss.config.params.stages import classifier_params
        >>> on = {"hide_and_seek": {"probability": 1, "grids": [2]}}
        >>> hider = Hider(classifier_params().model_validate(on))
        >>> hider.hide(torch.ones(1, 3, 4, 4), torch.Generator().manual_seed(2))[0, 0].tolist()
        [[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]]
    """

    def __init__(self, params: ClassifierParams) -> None:
        self.ways = {name: group for name, group in params.hidings.items() if not group.off}

    def hide(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return float32[B, 3, H, W] with parts hidden.

        Where no way is on, it returns the images themselves and draws nothing.

        Args:
            images: float32[B, 3, H, W] on any device, normalised, so that 0 is the mean colour.
            generator: of all random choices.
        """
        if not self.ways:
            return images
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        result = images.clone()
        for name, group in self.ways.items():
            for image in result:
                if rng.random() < group.probability:
                    image.copy_(HIDINGS[name].hide(group, image, rng))
        return result
