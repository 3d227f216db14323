"""Stage `predicted_masks`: a classifier's own labels in place of given ones, their CAMs, and a dense CRF.

The line that a segmentation network has to beat: no network is trained on masks here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from wsss.config.params.predicted_masks import PredictedMasksParams
from wsss.config.params.stages import CamsParams, PseudoMasksParams
from wsss.data.beside import Beside
from wsss.data.pictures.sizes import resize_mask
from wsss.data.view import photo_sizes
from wsss.files import place
from wsss.masks.cams import multi_scale_cams
from wsss.masks.crf import cam_to_sure_mask_with_crf, crf_memory
from wsss.masks.images import write_mask
from wsss.models.computing.folding import fold_norms
from wsss.models.computing.memory import network_bytes_per_pixel
from wsss.models.networks.cam_net import CamNetwork
from wsss.stages.cams import shown_side
from wsss.stages.chunks import ChunkedStage, crf_need
from wsss.stages.contract import Context
from wsss.stages.kinds.segmentations import segmented_ids
from wsss.stages.memory_bound import MemoryBound, copies
from wsss.stages.training.network import load_classifier

LONGEST = 512
"""The long side, in pixels, at which a classifier looks for classes where no `size` is given."""


class PredictedMasks(ChunkedStage):
    """One step makes the masks of a chunk of the `select` and `test` images; CRFs run in a pool of the
    trial's CPUs. Files: <id>.png, ids 0..C."""

    def __init__(self, context: Context) -> None:
        super().__init__(context, segmented_ids(context.data))
        assert isinstance(context.params, PredictedMasksParams)
        self.params = context.params
        params = self.params
        self.cams = CamsParams(scales=params.scales, flip=params.flip, size=params.size)
        self.rule = PseudoMasksParams(background_exponent=params.background_exponent, crf=params.crf)
        self.network = load_classifier(context.inputs["classifier"], context.device)
        self.precision = self.network.precision
        fold_norms(self.network)
        self.bound = MemoryBound(context.work, "masks by a classifier", context.device)
        self.per_pixel = network_bytes_per_pixel(self.network.cam, context.device)

    def step(self) -> dict[str, float]:
        ids = self.chunk()
        sizes = photo_sizes(self.context.data, ids)
        with Beside(self.context.device, self.context.threads) as beside:
            photos = zip(ids, beside.read(self.context.data.photo, ids), strict=True)
            tasks: Iterator[tuple[Any, ...]] = (self._task(id, photo) for id, photo in photos)
            masks = self.refine(cam_to_sure_mask_with_crf, tasks, crf_need)
            for id, (mask, _) in zip(ids, masks, strict=True):
                beside.write(self._write, id, mask, sizes[id])
        self.bound.save()
        self.done += 1
        return {"images": float(len(ids))}

    def _task(self, id: str, photo: npt.NDArray[np.uint8]) -> tuple[Any, ...]:
        """Return what a CRF on the CAMs of the predicted classes is given."""
        keys = predicted_labels(
            self.network, photo, self.params.size, self.params.probability, self.context.device
        )
        maps = np.zeros((0, *photo.shape[:2]), np.float16)
        if keys:
            (maps,) = multi_scale_cams(
                self.network,
                [photo],
                [keys],
                scales=self.cams.scales,
                flip=self.cams.flip,
                size=shown_side(self.cams, self.bound, [id], photo.shape[:2], self.per_pixel),
                device=self.context.device,
            )
        size = self.bound.fit(id, photo.shape[:2], crf_memory(len(keys) + 1))
        return (*copies(photo, maps, size), keys, self.rule)

    def _write(self, id: str, mask: npt.NDArray[np.uint8], size: tuple[int, int]) -> None:
        write_mask(self.context.work / f"{id}.png", resize_mask(mask, size))

    def finish(self, folder: Path) -> dict[str, Any]:
        for id in self.ids:
            place(self.context.work / f"{id}.png", folder / f"{id}.png")
        return {"images": len(self.ids), "scales": list(self.params.scales), **self.bound.notes()}


def predicted_labels(
    network: CamNetwork,
    photo: npt.NDArray[np.uint8],
    size: int | None,
    probability: float,
    device: torch.device | str,
) -> list[int]:
    """Return the 0-based classes that a classifier finds on a photo, ascending.

    Args:
        network: on `device`, in evaluation mode.
        photo: RGB uint8[H, W, 3].
        size: the long side, in pixels, at which it looks at the photo; that of a larger one becomes 512 when
            None.
        probability: what a class's must be above, in [0, 1].
        device: a torch device.
    """
    side = size or LONGEST
    picture = Image.fromarray(photo)
    picture.thumbnail((side, side), Image.Resampling.BICUBIC)
    x = torch.from_numpy(np.asarray(picture, np.float32) / 255)
    x = (x - torch.tensor(network.mean)) / torch.tensor(network.std)
    with torch.inference_mode():
        logits = network(x.permute(2, 0, 1)[None].to(device)).logits[0].float()
    return torch.nonzero(logits.sigmoid() > probability)[:, 0].tolist()
