"""COCO 2014, photos and instances (Lin et al., ECCV 2014).

Sizes and checksums are those that TensorFlow Datasets keeps of the archives (`url_checksums/coco.txt`).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import ClassVar

from wsss.data.fetching.archives import unpack
from wsss.data.fetching.fetch import FETCHES, Bars, Fetch, Source, id_digest, obtain
from wsss.errors import DataError, Problem

PLACE = "http://images.cocodataset.org"
LISTS = {
    "train": (82_081, "2985c4b482da49946f2e5dfb9a12f44bee154529cd601f63b1105942d763a8f9"),
    "val": (40_137, "6f65de2c151265166b98f2202c9822d6a81f607f2c39e39c01d279d9de690c1a"),
}
"""Images and digest of the sorted ids of the field's lists, as CLIP-ES, ToCo, DuPL and ExCEL have them."""


@FETCHES.register
class Coco2014(Fetch):
    name = "coco2014"
    about = "COCO 2014, training and validation images with their instances: 20 GB"
    archives: ClassVar[tuple[Source, ...]] = (
        Source(
            "annotations",
            (f"{PLACE}/annotations/annotations_trainval2014.zip",),
            bytes=252_872_794,
            sha256="031296bbc80c45a1d1f76bf9a90ead27e94e99ec629208449507a4917a3bf009",
        ),
        Source(
            "val2014",
            (f"{PLACE}/zips/val2014.zip",),
            bytes=6_645_013_297,
            sha256="fe9be816052049c34717e077d9e34aa60814a55679f804cd043e3cbee3b9fde0",
        ),
        Source(
            "train2014",
            (f"{PLACE}/zips/train2014.zip",),
            bytes=13_510_573_713,
            sha256="ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775",
        ),
    )
    lists: ClassVar[dict[str, tuple[int, str]]] = LISTS

    @classmethod
    def run(cls, folder: Path, address: str | None, bars: Bars) -> Path | None:
        """Bring what is missing, archive by archive: each folder appears when it is whole."""
        root = folder / cls.name
        made = [source.name for source in cls.archives if not (root / source.name).is_dir()]
        for source in cls.archives:
            if source.name in made:
                archive = obtain(source, root, address, bars)
                unpack(archive, root / source.name, source.name, cls._is_needed, bars.unpacking)
                archive.unlink()
        cls._check_lists(root)
        return root if made else None

    @staticmethod
    def _is_needed(name: str) -> bool:
        """Whether a file of an archive is one of photos, or of instances: captions and keypoints are not."""
        return not name.startswith("annotations/") or name.startswith("annotations/instances_")

    @classmethod
    def _check_lists(cls, root: Path) -> None:
        """Raise `DataError` when the lists that follow from the annotations are not the field's."""
        from wsss.data.readers.coco import CocoDataset

        problems = []
        with tempfile.TemporaryDirectory(prefix="wsss-coco-") as cache:
            found = CocoDataset(root, cache=Path(cache))
            for name, (count, digest) in cls.lists.items():
                ids = found.split(name)
                if (len(ids), id_digest(ids)) != (count, digest):
                    message = (
                        f"list {name} has {len(ids):,} images, not the {count:,} that the field trains on"
                    )
                    problems.append(Problem(str(root), message))
        if problems:
            raise DataError(problems)
