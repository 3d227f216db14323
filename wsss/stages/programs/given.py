"""The inputs of a foreign program: results of earlier stages in the field's layouts, lists, labels."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from wsss.data.view import DataView, photo_sizes
from wsss.files import WRITING
from wsss.stages.kinds.programs.words import LISTS
from wsss.stages.shards import INDEX, CamShards

CAM_STRIDE = 4
"""Pixels between two cells of the small maps beside those of full size, as IRN writes them."""
FILES = "files"
"""Folder of an artefact with the files that a program made for later commands."""


def give_data(data: DataView, images: tuple[str, ...], folder: Path) -> dict[str, str]:
    """Write lists, classes and labels into a folder; return placeholder → path, for {data.…}.

    A list has an id a line; `labels.csv` has `image,labels` with the names of classes, separated by `;`, of
    all images whose labels may be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lists = {"labelled": data.labelled_ids, "images": images}
    lists |= {name: getattr(data, name) for name in LISTS if name not in lists}
    found = {"data.root": str(data.dataset.root)}
    for name, ids in lists.items():
        _write(folder / f"{name}.txt", ids)
        found[f"data.{name}"] = str(folder / f"{name}.txt")
    classes = data.dataset.classes
    _write(folder / "classes.txt", classes)
    found["data.classes"] = str(folder / "classes.txt")
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["image", "labels"])
        rows = zip(data.labelled_ids, data.dataset.labels(data.labelled_ids), strict=True)
        table.writerows([id, ";".join(classes[n] for n in np.flatnonzero(row))] for id, row in rows)
    return {**found, "data.labels": str(folder / "labels.csv")}


def _write(path: Path, lines: tuple[str, ...]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def give_artefact(source: Path, data: DataView, folder: Path, layout: str) -> None:
    """Write an artefact's files into a new folder, in a layout that other programs read.

    CAMs are `<id>.npy`, as IRN writes them: a dict of `keys` int64[n], 0-based, `cam`
    float32[n, ⌈H/4⌉, ⌈W/4⌉] and `high_res` float32[n, H, W], both in [0, 1]; with the layout `npz` the same
    arrays without a pickle, in `<id>.npz`. Masks are `<id>.png`, ids 0..C. Anything else is copied. Nothing
    is linked: what a program changes changes no artefact.

    Args:
        source: the artefact's folder.
        data: knows the classes and sizes of images.
        folder: the new one.
        layout: of CAMs, `npz` or empty.
    """
    aside = folder.with_name(f"{folder.name}{WRITING}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    if (source / INDEX).is_file():
        _give_cams(CamShards(source), data, aside, layout)
    elif (source / FILES).is_dir():
        shutil.copytree(source / FILES, aside, dirs_exist_ok=True)
    else:
        for path in sorted(source.glob("*.png")):
            shutil.copyfile(path, aside / path.name)
    aside.rename(folder)


def _give_cams(shards: CamShards, data: DataView, folder: Path, layout: str) -> None:
    for id, (width, height) in photo_sizes(data, list(shards)).items():
        cams, keys = shards[id]
        maps = np.zeros((len(keys), height, width), np.float32)
        for whole, cam in zip(maps, cams, strict=True):
            image = Image.fromarray(cam.astype(np.float32))  # of a very large photo it is smaller than that
            whole[:] = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
        small = np.ascontiguousarray(maps[:, ::CAM_STRIDE, ::CAM_STRIDE])
        arrays = {"keys": keys, "cam": small, "high_res": maps}
        if layout == "npz":
            np.savez(folder / f"{id}.npz", allow_pickle=False, **arrays)
        else:
            np.save(folder / f"{id}.npy", np.array(arrays, dtype=object))
