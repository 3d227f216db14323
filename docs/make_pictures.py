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
from sklearn.decomposition import PCA

from wsss.config.params.stages import MixingParams, classifier_params
from wsss.data.batches.loader import evaluation_image
from wsss.data.readers.voc import VocDataset
from wsss.data.sample.data_set import write_sample
from wsss.methods.fmix import fmix_mask
from wsss.methods.hider import Hider
from wsss.methods.mixing import Mixer
from wsss.methods.subcategories import Clustering, discover_class
from wsss.models import create_backbone

FOLDER = Path(__file__).parent / "images"
PHOTOS = ("sample_000008", "sample_000012")
TAP = "blocks2"
CLASS, CLUSTERS, SHOWN = 0, 3, 5
TEMPERATURES = (1.0, 2.0, 4.0, 8.0)
SCALE = 10.0


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "sample"
        write_sample(root, train=96, val=1)
        photos = [Image.open(root / f"JPEGImages/{id}.jpg").resize((128, 128)) for id in PHOTOS]
        draw_clusters(VocDataset(root))
    draw_mixing(photos)
    draw_hiding(photos)
    draw_features(photos)


def draw_mixing(photos: list[Image.Image]) -> None:
    """Draw two photos, their Mixup and FMix, and masks of FMix."""
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


def draw_hiding(photos: list[Image.Image]) -> None:
    """Draw two photos, and what CutMix, hide-and-seek and random erasing leave of the first."""
    batch = torch.stack([torch.from_numpy(np.asarray(p) / 255.0) for p in photos]).permute(0, 3, 1, 2).float()
    mixer = Mixer(MixingParams(kind="cutmix", alpha=4.0))
    mixed = mixed_with_the_other(mixer, batch, 4)
    weight = float(mixed.weight[0])
    panels = [("a photo", photos[0]), ("another", photos[1])]
    panels.append((f"CutMix, weight {weight:.2f}", mixed.images[0].permute(1, 2, 0).numpy()))
    ways: list[tuple[str, dict[str, object]]] = [
        ("4 × 4 patches", {"hide_and_seek": {"probability": 1, "grids": [4]}}),
        ("14 × 14 patches", {"hide_and_seek": {"probability": 1, "grids": [14]}}),
        ("random erasing", {"random_erasing": {"probability": 1, "area": [0.2, 0.4]}}),
    ]
    for title, on in ways:
        hider = Hider(classifier_params().model_validate(on))
        normal = (batch[:1] - 0.5) / 0.25
        shown = 0.25 * hider.hide(normal, torch.Generator().manual_seed(3))[0] + 0.5
        panels.append((title, shown.clamp(0, 1).permute(1, 2, 0).numpy()))
    draw(FOLDER / "hiding.png", panels)


def draw_features(photos: list[Image.Image]) -> None:
    """Draw what Manifold Mixup mixes: the features of two photos at a tap, three colours for the three
    directions in which they differ most."""
    backbone = create_backbone("efficientnet_lite0", "package").eval()
    batch = torch.stack(
        [torch.as_tensor(evaluation_image(photo, 256, backbone.mean, backbone.std)) for photo in photos]
    )
    mixed = mixed_with_the_other(Mixer(MixingParams(kind="manifold", alpha=4.0), [TAP]), batch, 4)
    with torch.inference_mode():
        features = backbone.forward_taps(batch)[TAP]
        first = mixed.mix_features(features)[0]
    maps = [*features.permute(0, 2, 3, 1).numpy(), first.permute(1, 2, 0).numpy()]
    pca = PCA(3).fit(np.concatenate([m.reshape(-1, m.shape[-1]) for m in maps[:2]]))
    coloured = [pca.transform(m.reshape(-1, m.shape[-1])).reshape(*m.shape[:2], 3) for m in maps]
    low, high = np.percentile(np.stack(coloured[:2]), [2, 98], axis=(0, 1, 2))
    coloured = [np.clip((m - low) / (high - low), 0, 1) for m in coloured]
    weight = float(mixed.weight[0])
    titles = ["its features", "the other's", f"mixed, weight {weight:.2f}"]
    draw(
        FOLDER / "manifold_mixup.png",
        [("a photo", photos[0]), ("another", photos[1]), *zip(titles, coloured, strict=True)],
    )


def draw_clusters(dataset: VocDataset) -> None:
    """Draw the clusters of a class, and what a teacher says of one of its photos at several temperatures."""
    backbone = create_backbone("efficientnet_lite0", "package").eval()
    ids = dataset.split("train")
    photos = [dataset.image(id) for id in ids]
    with torch.inference_mode():
        features = np.stack(
            [
                backbone(torch.as_tensor(evaluation_image(photo, 160, backbone.mean, backbone.std))[None])
                .mean((2, 3))[0]
                .numpy()
                for photo in photos
            ]
        )
    found = discover_class(features, dataset.labels(ids), CLASS, Clustering(clusters=CLUSTERS))
    rows = [np.flatnonzero(column)[:SHOWN] for column in found.labels.T]
    figure = Figure(figsize=(1.5 * SHOWN, 1.6 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    for number, (axes, members) in enumerate(
        zip(figure.subplots(len(rows), SHOWN, squeeze=False), rows, strict=True), start=1
    ):
        for axis in axes:
            axis.set_axis_off()
        for axis, member in zip(axes, members, strict=False):
            axis.imshow(photos[member].resize((128, 128)))
        axes[0].set_title(f"{dataset.classes[CLASS]}, cluster {number}", fontsize=10, loc="left")
    figure.savefig(FOLDER / "subcategories.png", dpi=80)

    # The photo of which the teacher is least sure, where temperature can be seen at work.
    members = np.flatnonzero(found.labels.any(1))
    spread = np.ptp(found.similarity[members], axis=1)
    chosen = members[int(np.argsort(spread)[len(spread) // 2])]
    figure = Figure(figsize=(2.0 * (1 + len(TEMPERATURES)), 2.3), layout="constrained")
    FigureCanvasAgg(figure)
    first, *others = figure.subplots(1, 1 + len(TEMPERATURES))
    first.imshow(photos[chosen].resize((128, 128)))
    first.set_title("a photo", fontsize=10)
    first.set_axis_off()
    for axis, temperature in zip(others, TEMPERATURES, strict=True):
        powers = np.exp(SCALE * found.similarity[chosen] / temperature)
        axis.bar(range(1, len(powers) + 1), powers / powers.sum(), color="0.4")
        axis.set_ylim(0, 1)
        axis.set_xticks(range(1, len(powers) + 1))
        axis.set_title(f"teacher, T = {temperature:g}", fontsize=10)
    others[0].set_xlabel("cluster", fontsize=9)
    figure.savefig(FOLDER / "subcategory_teaching.png", dpi=80)


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
