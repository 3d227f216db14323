"""The Oxford-IIIT Pet set (Parkhi et al., CVPR 2012), as a folder of photos: cats and dogs with masks.

Sizes and checksums are those that TensorFlow Datasets keeps of the archives
(`url_checksums/oxford_iiit_pet.txt`).
"""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import ClassVar

import numpy as np

from wsss.data.fetching.archives import unpack
from wsss.data.fetching.fetch import FETCHES, Bars, Fetch, Source, obtain
from wsss.data.photo_set import is_safe
from wsss.data.pictures.decode import decode_mask
from wsss.data.pictures.opening import read_bytes
from wsss.data.tables.text import capped, numbered_lines, quote
from wsss.errors import DataError, Problem
from wsss.labels import IGNORED

PLACE = "https://www.robots.ox.ac.uk/~vgg/data/pets/data"
CLASSES = ("cat", "dog")
LISTS = ("trainval", "test")
ANIMAL, AROUND, BETWEEN = 1, 2, 3
"""What trimaps count: the animal, what is around it, and the border between that nobody classified."""
ABOUT = """\
The Oxford-IIIT Pet Dataset (Parkhi, Vedaldi, Zisserman, Jawahar: Cats and Dogs, CVPR 2012),
https://www.robots.ox.ac.uk/~vgg/data/pets/, under the licence CC BY-SA 4.0.

Changed here: of the trimaps, masks were made with 1 for a cat, 2 for a dog, 0 for the background and 255
for the border that nobody classified; labels.csv has the species of every photo. Photos are as they were.
"""


@FETCHES.register
class Pets(Fetch):
    name = "pets"
    about = "Oxford-IIIT Pet, 7,349 photos of cats and dogs with masks (CC BY-SA 4.0): 0.8 GB"
    archives: ClassVar[tuple[Source, ...]] = (
        Source(
            "annotations",
            (f"{PLACE}/annotations.tar.gz",),
            bytes=19_173_078,
            sha256="52425fb6de5c424942b7626b428656fcbd798db970a937df61750c0f1d358e91",
        ),
        Source(
            "images",
            (f"{PLACE}/images.tar.gz",),
            bytes=791_918_971,
            sha256="67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d",
        ),
    )

    @classmethod
    def run(cls, folder: Path, address: str | None, bars: Bars) -> Path | None:
        """Write a folder for `dataset: folder`, whole or not at all."""
        target, aside = folder / cls.name, folder / f".{cls.name}-unpacked"
        if (target / "labels.csv").is_file():
            return None
        if target.exists() and any(target.iterdir()):
            raise DataError(Problem(str(target), "holds something else", "choose another folder"))
        archives = [obtain(source, folder, address, bars) for source in cls.archives]
        shutil.rmtree(aside, ignore_errors=True)
        try:
            for source, archive in zip(cls.archives, archives, strict=True):
                unpack(archive, aside / source.name, source.name, _is_needed, bars.unpacking)
            _arrange(aside, aside / "made")
            if target.is_dir():
                target.rmdir()  # it is empty
            (aside / "made").rename(target)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        for archive in archives:
            archive.unlink()
        return target


def _is_needed(name: str) -> bool:
    """Leave out boxes, MATLAB's files and the notes of another system's desktop."""
    ending = Path(name).suffix
    return ending in (".jpg", ".png", ".txt") and not Path(name).name.startswith(".")


def _arrange(source: Path, target: Path) -> None:
    """Write a folder of photos from what was in both archives."""
    from wsss.masks.images import write_mask

    species = {
        name: k for split in LISTS for name, k in _species(source / f"annotations/{split}.txt").items()
    }
    problems: list[Problem] = []
    for folder in ("images", "masks"):
        (target / folder).mkdir(parents=True)
    for name, number in species.items():
        photo, trimap = source / f"images/{name}.jpg", source / f"annotations/trimaps/{name}.png"
        lost = [path for path in (photo, trimap) if not path.is_file()]
        if lost:
            problems.append(Problem(str(lost[0].relative_to(source)), "is in no archive"))
            continue
        parts = decode_mask(read_bytes(trimap), trimap)
        if not set(np.unique(parts).tolist()) <= {ANIMAL, AROUND, BETWEEN}:
            problems.append(Problem(str(trimap.relative_to(source)), "is no trimap of 1, 2 and 3"))
            continue
        mask = np.full(256, IGNORED, np.uint8)
        mask[[ANIMAL, AROUND]] = number, 0
        write_mask(target / f"masks/{name}.png", mask[parts])
        photo.rename(target / f"images/{name}.jpg")
    if problems:
        raise DataError(capped(problems, str(source)))
    (target / "README.txt").write_text(ABOUT, encoding="utf-8")
    (target / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES), encoding="utf-8")
    for split in LISTS:
        names = _species(source / f"annotations/{split}.txt")
        (target / f"{split}.txt").write_text("".join(f"{name}.jpg\n" for name in names), encoding="utf-8")
    with (target / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        rows = ((f"{name}.jpg", CLASSES[number - 1]) for name, number in species.items())
        csv.writer(file, lineterminator="\n").writerows([("image", "label"), *rows])


def _species(path: Path) -> dict[str, int]:
    """Return the photos of a list, each with its species: 1 for a cat, 2 for a dog."""
    found: dict[str, int] = {}
    for number, line in numbered_lines(path):
        words = line.split()
        if line[0] == "#":
            continue
        if len(words) != 4 or words[2] not in ("1", "2") or not is_safe(words[0]):
            message = (
                f"line is {quote(line)}, but must be a photo and the numbers of class, species and breed"
            )
            raise DataError(Problem(f"{path.name}:{number}", message))
        found[words[0]] = int(words[2])
    return found
