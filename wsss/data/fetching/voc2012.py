"""PASCAL VOC 2012, photos and masks (Everingham et al., IJCV 2015)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from wsss.data.fetching.archives import unpack
from wsss.data.fetching.fetch import FETCHES, Bars, Fetch, Source, obtain, with_address
from wsss.data.readers.voc import FOLDERS
from wsss.errors import DataError, Problem

DEVKIT = "VOCdevkit/VOC2012"
LISTS = Path("ImageSets") / "Segmentation"


@FETCHES.register
class Voc2012(Fetch):
    name = "voc2012"
    about = "PASCAL VOC 2012, training and validation images: 2 GB"
    archive: ClassVar[Source] = Source(
        "voc2012",
        ("http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",),
        bytes=1_999_639_040,
        md5="6cd6e144f989b92b3379bac3b3de84fd",
    )

    @classmethod
    def run(cls, folder: Path, address: str | None, bars: Bars) -> Path | None:
        """Bring the devkit, whole or not at all; `address` is the archive's own.

        Raises `DataError`, besides, when something else is in the place of the devkit.
        """
        target = devkit_in(folder)
        if all((target / name).is_dir() for name in FOLDERS):
            return None
        if target.exists() and any(target.iterdir()):
            message = "holds something that is no VOC devkit"
            raise DataError(Problem(str(target), message, "choose another folder"))
        archive = obtain(with_address(cls.archive, address), folder, None, bars)
        unpack(archive, target, DEVKIT, progress=bars.unpacking, holding=FOLDERS)
        archive.unlink()
        return target


def devkit_in(folder: Path) -> Path:
    """Return the devkit below a folder; the folder itself if it is one."""
    return folder if (folder / LISTS).is_dir() else folder / DEVKIT
