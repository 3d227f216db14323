"""Does the embedded sample set show the disease? Measures what its description claims.

Trains the quickstart's baseline as the product does, on the training half of the sample, and looks
at its CAMs on the validation images, which nothing was trained or selected on: at the threshold that
is best there (the claim is about the most a threshold can do), how much of the telling part of an
object (the head) and of the rest do they cover? Then the same network is trained once more, on full
masks, to show that the pictures themselves are not too hard. About ten minutes on two cores.

    python benchmarks/sample_set.py
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import cross_entropy, interpolate

from wsss.config import load_study
from wsss.config.params.stages import CamsParams
from wsss.data.batches.loader import evaluation_image
from wsss.data.readers.voc import VocDataset
from wsss.data.view import open_data
from wsss.masks.cams import multi_scale_cams
from wsss.masks.seeds import threshold_mask
from wsss.metrics import ThresholdCurve, centre_box, confusion, mean_average_precision, miou
from wsss.models import CamNetwork, create_backbone
from wsss.pipeline.chains.execute import run_chain
from wsss.pipeline.search.trials import sweep_trials
from wsss.stages.training.network import load_classifier
from wsss.store.folder_store import Store

STUDY = Path(__file__).parents[1] / "tune_configs" / "quickstart.yaml"
SIZE = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=24, help="of training with full masks")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        study = load_study(STUDY, storage=folder)
        data = open_data(study.data, storage=Path(folder), workers=options.threads)
        trial = next(t for t in sweep_trials(study, study.sweeps[0], [], data) if t.info.arm == "baseline")
        chain = trial.chain
        store = Store(Path(folder) / "store")
        list(run_chain("baseline", chain, store, data, device="cpu", threads=options.threads))
        classifier = load_classifier(store.folder(chain.nodes[0].key)).eval()
        about = next(node.params for node in chain.nodes if node.stage == "cams")
        assert isinstance(about, CamsParams)
        measure_cams(classifier, data.dataset, data.test, about.size)
        measure_full_masks(data.dataset, data.train, data.test, options.epochs)


def measure_cams(network: CamNetwork, dataset: VocDataset, ids: tuple[str, ...], size: int | None) -> None:
    """Print what the classifier's scores and CAMs are worth on these images."""
    labels = dataset.labels(ids)
    scores = np.zeros(labels.shape, np.float32)
    curve = ThresholdCurve(len(dataset.classes))
    cams, floor = [], []
    for number, id in enumerate(ids):
        image = dataset.image(id)
        x = torch.as_tensor(evaluation_image(image, 160, network.mean, network.std))[None]
        with torch.inference_mode():
            scores[number] = network(x).logits[0].numpy()
        keys = np.flatnonzero(labels[number])
        maps = multi_scale_cams(
            network, [np.asarray(image)], [keys], scales=(1.0,), flip=True, size=size, device="cpu"
        )[0]
        curve.add(dataset.mask(id), maps, keys)
        cams.append((maps, keys))
        floor.append(
            confusion(dataset.mask(id), centre_box(maps.shape[1:], keys[0] + 1), len(dataset.classes))
        )
    _, threshold, best = curve.best()
    telling, rest = [0, 0], [0, 0]
    for id, (maps, keys) in zip(ids, cams, strict=True):
        found = threshold_mask(maps, keys, threshold)
        parts = np.asarray(Image.open(dataset.root / "Parts" / f"{id}.png"))
        for kind in keys + 1:
            for counts, part in ((telling, 2 * kind - 1), (rest, 2 * kind)):
                counts[0] += int(((parts == part) & (found == kind)).sum())
                counts[1] += int((parts == part).sum())
    print(f"images                        {len(ids)}, seen by nothing before")
    print(f"mAP of the classifier         {mean_average_precision(scores, labels):.3f}  (claim: >= 0.9)")
    print(f"recall of the telling part    {telling[0] / telling[1]:.2f}   (claim: >= 0.7)")
    print(f"recall of the rest            {rest[0] / rest[1]:.2f}   (claim: <= 0.4)")
    print(f"mIoU of a centre box          {100 * miou(np.sum(floor, axis=0)):.1f}")
    print(f"mIoU of CAMs at threshold {threshold:.2f} {100 * best:.1f}   (claim: box + 5 to 55)")


def measure_full_masks(
    dataset: VocDataset, train: tuple[str, ...], test: tuple[str, ...], epochs: int, batch: int = 8
) -> None:
    """Train the network of the quickstart on full masks and print its mIoU."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    network = CamNetwork(create_backbone("efficientnet_lite0", "package"), len(dataset.classes) + 1)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    mean, std = (torch.tensor(values)[:, None, None] for values in (network.mean, network.std))
    groups = [(network.backbone, 5e-4), (network.head, 1.5e-3)]
    optimiser = torch.optim.AdamW([{"params": part.parameters(), "lr": lr} for part, lr in groups])
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimiser, epochs * (len(train) // batch), 0.9)

    def tensors(ids: list[str], learning: bool) -> tuple[torch.Tensor, torch.Tensor]:
        pairs = [padded(dataset.image(id), dataset.mask(id), random if learning else None) for id in ids]
        images = torch.stack([torch.from_numpy(image).permute(2, 0, 1) for image, _ in pairs]).float() / 255
        masks = torch.stack([torch.from_numpy(mask) for _, mask in pairs]).long()
        x = interpolate((images - mean) / std, scale_factor=2, mode="bilinear")
        return x.contiguous(memory_format=torch.channels_last), masks

    for _ in range(epochs):
        network.train()
        order = random.permutation(len(train))
        for start in range(0, len(train) - batch + 1, batch):
            x, masks = tensors([train[index] for index in order[start : start + batch]], True)
            scores = interpolate(network.cam(x), masks.shape[1:], mode="bilinear")
            loss = cross_entropy(scores, masks, ignore_index=255)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    network.eval()
    total = np.zeros((len(dataset.classes) + 1,) * 2, np.int64)
    for id in test:
        x, masks = tensors([id], False)
        with torch.inference_mode():
            found = interpolate(network.cam(x), masks.shape[1:], mode="bilinear").argmax(1)[0]
        total += confusion(
            masks[0].numpy().astype(np.uint8), found.numpy().astype(np.uint8), len(dataset.classes)
        )
    print(f"mIoU with full masks          {100 * miou(total):.1f}   (claim: >= 80; {epochs} epochs)")


def padded(
    image: Image.Image, mask: np.ndarray, random: np.random.Generator | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the image and its mask on a square, randomly scaled, cropped and mirrored while learning."""
    picture, truth = image, Image.fromarray(mask)
    if random is not None:
        scale = random.uniform(0.75, 1.35)
        size = (round(scale * image.width), round(scale * image.height))
        picture = picture.resize(size, Image.Resampling.BICUBIC)
        truth = truth.resize(size, Image.Resampling.NEAREST)
        left, top = (int(random.integers(max(0, side - SIZE) + 1)) for side in size)
        box = (left, top, min(left + SIZE, size[0]), min(top + SIZE, size[1]))
        picture, truth = picture.crop(box), truth.crop(box)
        if random.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            truth = truth.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pixels, ids = np.zeros((SIZE, SIZE, 3), np.uint8), np.full((SIZE, SIZE), 255, np.uint8)
    pixels[: picture.height, : picture.width] = np.asarray(picture)
    ids[: truth.height, : truth.width] = np.asarray(truth)
    return pixels, ids


if __name__ == "__main__":
    main()
