"""What a classifier reports while it trains: hold-out mAP, and a quick CAM score for schedulers."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from wsss.config.params import RungParams
from wsss.data.loader import evaluation_image
from wsss.data.view import DataView
from wsss.masks.cams import group_by_size, multi_scale_cams
from wsss.metrics import ThresholdCurve, mean_average_precision
from wsss.models import CamNetwork

BATCH = {"cpu": 4, "cuda": 32}  # large batches fall out of a CPU's caches


@torch.inference_mode()
def holdout_map(network: CamNetwork, data: DataView, size: int, device: torch.device) -> dict[str, float]:
    """Return {"mAP": mean average precision in [0, 1], "mAP_size": `size`} on the hold-out, over classes that
    occur there.

    Images are shown whole, with a long side of `size` pixels. It should be one that the network has learnt
    from: at another, mAP says more of the size than of the network. Empty without a usable hold-out.
    """
    if not data.holdout:
        return {}
    scores = np.zeros((len(data.holdout), len(data.dataset.classes)), np.float32)
    arrays = [
        evaluation_image(data.dataset.image(id), size, network.mean, network.std) for id in data.holdout
    ]
    for group in group_by_size([tuple(array.shape[1:]) for array in arrays]):
        most = BATCH.get(device.type, 32)
        for start in range(0, len(group), most):
            part = group[start : start + most]
            batch = torch.stack([torch.as_tensor(arrays[index]) for index in part])
            scores[part] = network(batch.to(device)).logits.float().cpu().numpy()
    labels = data.dataset.labels(data.holdout)
    mean = mean_average_precision(scores, labels)
    return {} if mean is None else {"mAP": mean, "mAP_size": float(size)}


def rung_ids(data: DataView, rung: RungParams) -> tuple[str, ...]:
    """Return the `select` images of the quick score: the first by the SHA-256 of their ids."""
    if not data.has_masks:
        return ()
    return tuple(sorted(data.select, key=lambda id: hashlib.sha256(id.encode()).digest())[: rung.images])


def rung_score(
    network: CamNetwork, data: DataView, rung: RungParams, size: int, device: torch.device
) -> dict[str, float]:
    """Return {"rung_score": mIoU in [0, 1]} of single-scale CAMs at their best threshold."""
    ids = rung_ids(data, rung)
    if not ids:
        return {}
    labels = dict(zip(ids, data.dataset.labels(ids), strict=True))
    images = {id: np.asarray(data.dataset.image(id)) for id in ids}
    curve = ThresholdCurve(len(data.dataset.classes))
    for group in group_by_size([images[id].shape[:2] for id in ids]):
        names = [ids[index] for index in group]
        keys = [np.flatnonzero(labels[name]) for name in names]
        cams = multi_scale_cams(
            network,
            [images[name] for name in names],
            keys,
            scales=(1.0,),
            flip=False,
            size=size,
            device=str(device),
        )
        for name, maps, present in zip(names, cams, keys, strict=True):
            curve.add(data.dataset.mask(name), maps, present)
    return {"rung_score": float(curve.best()[2])}
