"""What `label` leaves in its folder: masks, overlays, a sheet of them, the network.

MASKS/masks/<photo>.png      ids: 0 background, k the k-th line of classes.txt
MASKS/overlays/<photo>.jpg   to look at; MASKS/overview.jpg has many of them
MASKS/network.safetensors    with network.json, for `predict --model`
MASKS/study.yaml             what was run
MASKS/label.json             what was found, for programs
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsss.config.params.stages import SegmentationCrfParams
from wsss.data.pictures.sizes import shrink_mask
from wsss.data.readers.splits import is_held_out
from wsss.errors import StageError
from wsss.files import WRITING, write_atomic
from wsss.masks.images import read_mask, write_mask
from wsss.predict.formats import Item
from wsss.predict.labelling.doubt import Looked, look_at
from wsss.predict.labelling.photos import Photos
from wsss.predict.labelling.picture import pictured, write_picture, write_sheet
from wsss.predict.labelling.recipe import CLASSIFIER, MAPS, MASKS, NETWORK
from wsss.predict.photos import read_photo
from wsss.predict.predictor import Predictor, Settings
from wsss.predict.trained.model import load_artefact
from wsss.report.doubts import classifier_doubts, mask_lines
from wsss.stages.kinds.training.files import SEGMENTER_ABOUT, SEGMENTER_WEIGHTS
from wsss.stages.shards import CamShards
from wsss.stages.step_metrics import MAP
from wsss.store.artefact import Artefact
from wsss.store.storage import Storage

FOLDERS = ("masks", "overlays")
Report = Callable[[str, int, int], None]
"""Gets (what is done, photos done, all photos)."""


@dataclass(frozen=True)
class Made:
    """The artefacts of a finished study, by what the recipe calls their stages; `trial` is STUDY/TRIAL."""

    trial: str
    artefacts: Mapping[str, Artefact]

    @property
    def mean_ap(self) -> float | None:
        """The classifier's mAP on the hold-out, in [0, 1]; None without one."""
        history = self.artefacts[CLASSIFIER].record.get("history") or [{}]
        value = history[-1].get(MAP)
        return None if value is None else float(value)


def find_made(storage: Storage, study: str) -> Made:
    """Return what a study's last trial has made. Raises `StageError` where its files are gone."""
    trials = [one for one in storage.ledger(study).trials().values() if one.status == "done"]
    if not trials:
        raise StageError(f"{study} has finished no trial")
    found = {}
    for label in (CLASSIFIER, NETWORK, MAPS, MASKS):
        artefact = storage.store.get(trials[-1].keys.get(label, ""))
        if artefact is None:
            raise StageError(
                f"{label} of {study} is not in {storage.location}; `resume {study}` makes it again"
            )
        found[label] = artefact
    return Made(f"{study}/{trials[-1].id}", found)


def write_results(
    folder: Path, photos: Photos, made: Made, *, memory: float, workers: int, report: Report
) -> dict[str, Looked]:
    """Write masks, overlays, their sheet, classes and the network; return what is found of the masks that
    nobody drew, of photos with labels.

    A photo's mask is the one that somebody drew, or else the refined answer among its labels, or, without
    labels, the network's own.

    Args:
        folder: of all results.
        photos: what was labelled.
        made: by the study.
        memory: GiB that the network may take.
        workers: processes of the CRF.
        report: gets what is made, how many are done, and of how many.
    """
    for name in FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "classes.txt", "".join(f"{name}\n" for name in photos.classes).encode())
    network = made.artefacts[NETWORK]
    for source, name in ((SEGMENTER_WEIGHTS, "network.safetensors"), (SEGMENTER_ABOUT, "network.json")):
        aside = folder / f".{name}{WRITING}"
        shutil.copyfile(network.folder / source, aside)
        aside.replace(folder / name)
    total = len(photos.labelled) + len(photos.unlabelled)
    looked = _labelled(folder, photos, made, lambda done: report("masks", done, total))
    _unlabelled(
        folder,
        photos,
        network,
        memory=memory,
        workers=workers,
        told=lambda done: report("masks", len(photos.labelled) + done, total),
    )
    ids = sorted((*photos.labelled, *photos.unlabelled))
    for number, id in enumerate(ids, start=1):
        rgb = np.asarray(photos.dataset.image(id))  # of a very large photo a copy
        mask = shrink_mask(read_mask(folder / "masks" / f"{id}.png"))
        write_picture(folder / "overlays" / f"{id}.jpg", pictured(rgb, mask, photos.classes))
        report("overlays", number, total)
    write_sheet(folder / "overview.jpg", [folder / "overlays" / f"{id}.jpg" for id in ids])
    return looked


def items(folder: Path, photos: Photos) -> list[Item]:
    """Return every photo with its mask, in alphabetical order, as formats are given them."""
    ids = sorted((*photos.labelled, *photos.unlabelled))
    return [Item(photos.dataset.image_path(id), folder / "masks" / f"{id}.png") for id in ids]


def said_of(folder: Path, photos: Photos, made: Made) -> list[str]:
    """Return, in lines, the shares of classes in masks that nobody drew, and what speaks against masks and
    classifier."""
    others = [id for id in photos.labelled if id not in photos.drawn]
    shown = photos.dataset.labels(others)
    named = [folder / "masks" / f"{id}.png" for id, row in zip(others, shown, strict=True) if row.any()]
    lines = mask_lines(named, photos.classes, "refinement")
    held = [id for id in photos.labelled if is_held_out(id, photos.holdout)]
    if made.mean_ap is not None and held:
        doubts = classifier_doubts(made.mean_ap, photos.dataset.labels(held))
        lines += [f"warning: {doubt}" for doubt in doubts]
    return lines


def stale(folder: Path, photos: Photos) -> list[Path]:
    """Return masks and overlays in the folder that are of no photo: of an earlier call, or not ours."""
    known = {*photos.labelled, *photos.unlabelled}
    found = [path for name in FOLDERS for path in (folder / name).glob("*") if path.stem not in known]
    return sorted(found)


def _labelled(folder: Path, photos: Photos, made: Made, told: Callable[[int], None]) -> dict[str, Looked]:
    source, maps = made.artefacts[MASKS].folder, CamShards(made.artefacts[MAPS].folder)
    drawn, looked = set(photos.drawn), {}
    for number, id in enumerate(photos.labelled, start=1):
        target = folder / "masks" / f"{id}.png"
        if id in drawn:
            write_mask(target, read_mask(photos.dataset.mask_path(id)))
        else:
            mask = read_mask(source / f"{id}.png")
            write_mask(target, mask)
            given, keys = maps[id]
            if len(keys):
                looked[id] = look_at(given.astype(np.float32), keys, shrink_mask(mask))
        told(number)
    return looked


def _unlabelled(
    folder: Path,
    photos: Photos,
    network: Artefact,
    *,
    memory: float,
    workers: int,
    told: Callable[[int], None],
) -> None:
    if not photos.unlabelled:
        return
    model = load_artefact(network.folder, network.key)
    settings = Settings(
        model.scales, flip=True, crf=True, memory=memory, workers=workers, crf_params=SegmentationCrfParams()
    )
    predictor = Predictor(model, settings)
    try:
        for number, id in enumerate(photos.unlabelled, start=1):
            rgb = read_photo(photos.dataset.image_path(id))
            (mask,) = predictor.masks([rgb], predictor.plan(*rgb.shape[:2]))
            write_mask(folder / "masks" / f"{id}.png", mask)
            told(number)
    finally:
        predictor.close()


def shares(masks: Iterable[Path], classes: Sequence[str]) -> dict[str, float]:
    """Return the share of all pixels that background and each class have, in [0, 1]."""
    counts = np.zeros(256, np.int64)
    for path in masks:
        counts += np.bincount(read_mask(path).ravel(), minlength=256)
    known = counts[: len(classes) + 1]
    total = max(1, int(known.sum()))
    return {name: int(count) / total for name, count in zip(("background", *classes), known, strict=True)}
