"""A segmentation network that was never trained but has something to say, as an artefact of a store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from wsss.config.params.stages import SegmenterParams
from wsss.files import sha256_json, write_json
from wsss.models import DeepLab
from wsss.stages.kinds.training.files import SEGMENTER_ABOUT, SEGMENTER_WEIGHTS
from wsss.stages.training.segmentation_network import build_segmenter
from wsss.store.artefact import Artefact
from wsss.store.folder_store import Store

CLASSES = ("cat", "dog", "horse")


def make_network(seed: int = 0, backbone: str = "mobilenet_v2") -> tuple[DeepLab, SegmenterParams]:
    params = SegmenterParams(backbone=backbone, weights="none", scales=(1.0, 0.5))
    torch.manual_seed(seed)
    network = build_segmenter(params, CLASSES).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.aspp.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight.copy_(torch.randn(module.weight.shape, generator=generator))
        small = torch.rand(4, 3, 6, 8, generator=generator)
        x = torch.nn.functional.interpolate(small, (64, 96), mode="bicubic")
        logits = network.logits((x - 0.45) / 0.23)
        means = logits.mean((0, 2, 3))
        spread = (logits - means[None, :, None, None]).std()
        for module in network.aspp.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight /= spread
        network.aspp.c0.bias.copy_(-means / spread)
    return network, params


def commit_segmenter(
    storage: Path, *, seed: int = 0, key: str | None = None, stage: str = "segmenter"
) -> Artefact:
    network, params = make_network(seed)
    store = Store(storage / "store")
    folder = store.root / "making"
    folder.mkdir(parents=True)
    save_file(
        {name: value.contiguous() for name, value in network.state_dict().items()}, folder / SEGMENTER_WEIGHTS
    )
    write_json(folder / SEGMENTER_ABOUT, {"params": params.model_dump(mode="json"), "classes": list(CLASSES)})
    key = key or sha256_json({"seed": seed, "stage": stage})
    return store.commit(key, folder, {"stage": stage, "seconds": 1.0, "inputs": {}})


def draw_photo(path: Path, width: int = 96, height: int = 64, seed: int = 0) -> np.ndarray:
    """Write smooth noise as a PNG, or what the ending says; return its pixels."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
    picture = small.resize((width, height), Image.Resampling.BICUBIC)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    return np.array(picture)
