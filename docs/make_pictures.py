"""Make the pictures of docs/methods.md from the sample set.

python docs/make_pictures.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from wsss.config.params import MixingParams
from wsss.data.sample import write_sample
from wsss.methods.fmix import fmix_mask
from wsss.methods.mixing import Mixer

FOLDER = Path(__file__).parent / "images"
PHOTOS = ("sample_000008", "sample_000012")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "sample"
        write_sample(root, train=16, val=1)
        photos = [Image.open(root / f"JPEGImages/{id}.jpg").resize((128, 128)) for id in PHOTOS]
    batch = torch.stack([torch.from_numpy(np.asarray(p) / 255.0) for p in photos]).permute(0, 3, 1, 2).float()
    panels = [("a photo", photos[0]), ("another", photos[1])]
    for title, kind, seed in (("Mixup", "mixup", 4), ("FMix", "fmix", 4), ("FMix", "fmix", 9)):
        mixer = Mixer(MixingParams.model_validate({"kind": kind, "alpha": 4.0}))
        mixed = mixed_with_the_other(mixer, batch, seed)
        panels.append(
            (f"{title}, weight {float(mixed.weight[0]):.2f}", mixed.images[0].permute(1, 2, 0).numpy())
        )
    draw(FOLDER / "mixing.png", panels)
    rng = np.random.default_rng(5)
    masks = [
        (
            f"{sampler}, decay {decay:g}",
            fmix_mask(128, 128, 0.5, decay=decay, max_soft=0, sampler=sampler, rng=rng),
        )
        for sampler, decay in (
            ("isotropic", 2.0),
            ("isotropic", 3.0),
            ("isotropic", 5.0),
            ("legacy", 3.0),
            ("legacy", 3.0),
        )
    ]
    draw(FOLDER / "fmix_masks.png", masks)


def mixed_with_the_other(mixer: Mixer, batch: torch.Tensor, seed: int):  # type: ignore[no-untyped-def]
    """Mix until the permutation swaps the two photos."""
    while True:
        mixed = mixer.mix(batch, torch.eye(2), torch.Generator().manual_seed(seed))
        if mixed.permutation.tolist() == [1, 0] and 0.3 < float(mixed.weight[0]) < 0.7:
            return mixed
        seed += 1


def draw(path: Path, panels: list[tuple[str, object]]) -> None:
    """Write the pictures side by side, each under its title."""
    figure = Figure(figsize=(2.0 * len(panels), 2.3), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, (title, picture) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        axis.imshow(picture, cmap="gray", vmin=0, vmax=1)
        axis.set_title(title, fontsize=10)
        axis.set_axis_off()
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
