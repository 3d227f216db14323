"""What a classifier reports while it trains: hold-out mAP, and a quick CAM score for schedulers."""

from __future__ import annotations

import numpy as np
import torch

from wsss.config.params.stages import RungParams
from wsss.data.batches.augment import evaluation_image, resized
from wsss.data.view import DataView, working_sizes
from wsss.masks.cams import group_by_size, images_at_once, multi_scale_cams
from wsss.metrics import ThresholdCurve, mean_average_precision
from wsss.models import CamNetwork
from wsss.models.computing.precision import applied, sent
from wsss.stages.kinds.training.classifier import rung_ids
from wsss.stages.step_metrics import MAP, MAP_SIZE, RUNG_SCORE

BATCH = {"cpu": 4, "cuda": 32}  # large batches fall out of a CPU's caches


@torch.inference_mode()
def holdout_map(network: CamNetwork, data: DataView, size: int, device: torch.device) -> dict[str, float]:
    """Return {"mAP": mean average precision in [0, 1], "mAP_size": `size`} on the hold-out, over classes that
    occur there.

    The network sees images whole. The result is empty without a usable hold-out.

    Args:
        network: in evaluation mode.
        data: with a hold-out.
        size: the long side in pixels. It should be one that the network has learnt from: at another, mAP says
            more of the size than of the network.
        device: where the network is.
    """
    if not data.holdout:
        return {}
    scores = np.zeros((len(data.holdout), len(data.dataset.classes)), np.float32)
    sizes = working_sizes(data, data.holdout)
    for group in group_by_size([resized(*sizes[id][::-1], size) for id in data.holdout]):
        most = BATCH.get(device.type, 32)
        for start in range(0, len(group), most):
            part = group[start : start + most]
            photos = [data.dataset.image(data.holdout[index]) for index in part]
            arrays = [evaluation_image(photo, size, network.mean, network.std) for photo in photos]
            batch = torch.stack([torch.as_tensor(array) for array in arrays])
            with applied(network, device):
                output = network(sent(batch, device))
            scores[part] = output.logits.float().cpu().numpy()
    labels = data.dataset.labels(data.holdout)
    mean = mean_average_precision(scores, labels)
    return {} if mean is None else {MAP: mean, MAP_SIZE: float(size)}


def rung_score(
    network: CamNetwork, data: DataView, rung: RungParams, size: int, device: torch.device
) -> dict[str, float]:
    """Return {"rung_score": mIoU in [0, 1]} of single-scale CAMs at their best threshold.

    Args:
        network: in evaluation mode.
        data: with `select` images; without any the result is empty.
        rung: how many of them count.
        size: the long side in pixels.
        device: where the network is.
    """
    ids = rung_ids(data, rung)
    if not ids:
        return {}
    labels = dict(zip(ids, data.dataset.labels(ids), strict=True))
    curve = ThresholdCurve(len(data.dataset.classes))
    sizes = working_sizes(data, ids)
    for group in group_by_size([sizes[id] for id in ids]):
        same = [ids[index] for index in group]
        height, width = sizes[same[0]]
        batch = images_at_once(height, width, scales=(1.0,), flip=False, size=size, device=device)
        for start in range(0, len(same), batch):
            names = same[start : start + batch]
            keys = [np.flatnonzero(labels[name]) for name in names]
            cams = multi_scale_cams(
                network,
                [data.photo(name) for name in names],
                keys,
                scales=(1.0,),
                flip=False,
                size=size,
                device=str(device),
            )
            for name, maps, present in zip(names, cams, keys, strict=True):
                curve.add(data.dataset.mask(name), maps, present)
    return {RUNG_SCORE: float(curve.best()[2])}
