"""What a study sees of its data: a data set, and which images are for what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wsss.config import DataSpec
from wsss.config.data_set import DATA_SETS
from wsss.data.check import check_images, photo_prints
from wsss.data.photo_set import PhotoSet
from wsss.data.pictures.decode import photo_size
from wsss.data.pictures.fingerprint import Fingerprint, Fingerprints, Kind
from wsss.data.pictures.sizes import working_size
from wsss.data.pool import Progress
from wsss.data.readers.splits import Splits, build_splits
from wsss.data.tables.classes_in_use import Images
from wsss.data.twins import find_twins
from wsss.errors import DataError, Problem
from wsss.files import sha256_json

MOST_LISTED = 50


@dataclass(frozen=True)
class DataView:
    """A data set and the ids of each purpose, each tuple in alphabetical order.

    `train` and `holdout` have image-level labels only; `select` and `report` have labels and masks;
    `test` has masks, and its labels are not looked at; `teach` has masks that networks may learn from.
    """

    dataset: PhotoSet
    train: tuple[str, ...]
    holdout: tuple[str, ...]
    select: tuple[str, ...]
    report: tuple[str, ...]
    test: tuple[str, ...] = ()
    teach: tuple[str, ...] = ()
    fingerprints: Fingerprints = field(default_factory=lambda: Fingerprints(None), repr=False, compare=False)
    warnings: tuple[Problem, ...] = field(default=(), repr=False, compare=False)
    """What may be meant, but is more often a slip; looked for where the data are verified."""
    _keys: dict[tuple[str, tuple[str, ...]], str] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def labelled_ids(self) -> tuple[str, ...]:
        """All images whose image-level labels may be used, in alphabetical order."""
        return tuple(sorted({*self.train, *self.holdout, *self.select, *self.report}))

    @property
    def has_masks(self) -> bool:
        """Whether anything can be scored."""
        return bool(self.select and self.report)

    def photo(self, id: str) -> npt.NDArray[np.uint8]:
        """Return a photo uint8[H, W, 3] in RGB, at its working size.

        Raises `DataError` when it is missing or can't be decoded.
        """
        return np.asarray(self.dataset.image(id))

    def present(self, ids: Sequence[str]) -> dict[str, npt.NDArray[np.int64]]:
        """Return, by id, the classes int64[n] that an image's labels name, counted from 0."""
        return {id: np.flatnonzero(row) for id, row in zip(ids, self.dataset.labels(ids), strict=True)}

    def image_key(self, ids: Sequence[str]) -> str:
        """Return a SHA-256 of the classes in use and, for each image, its id, labels and photo.

        The order of `ids` does not matter. Raises `DataError` when a photo can't be decoded.
        """
        ids = tuple(sorted(ids))
        if ("photo", ids) not in self._keys:
            prints = self._take("photo", ids)
            labels = self.dataset.labels(ids).tolist()
            rows = [[id, row, found.identity] for id, row, found in zip(ids, labels, prints, strict=True)]
            self._keys["photo", ids] = sha256_json([self.dataset.classes, rows])
        return self._keys["photo", ids]

    def photo_key(self, ids: Sequence[str]) -> str:
        """Return a SHA-256 of the classes in use and, for each image, its id and photo; labels are not read.

        The order of `ids` does not matter. Raises `DataError` when a photo can't be decoded.
        """
        ids = tuple(sorted(ids))
        if ("unlabelled", ids) not in self._keys:
            rows = [[id, found.identity] for id, found in zip(ids, self._take("photo", ids), strict=True)]
            self._keys["unlabelled", ids] = sha256_json([self.dataset.classes, rows])
        return self._keys["unlabelled", ids]

    def mask_key(self, ids: Sequence[str]) -> str:
        """Return a SHA-256 of the class mapping and, for each image, its id and mask file.

        The order of `ids` does not matter. Raises `DataError` when a mask can't be decoded.
        """
        ids = tuple(sorted(ids))
        if ("mask", ids) not in self._keys:
            prints = self._take("mask", ids)
            rows = [[id, found.identity] for id, found in zip(ids, prints, strict=True)]
            mapping = [self.dataset.classes, sorted(self.dataset.class_ids.items())]
            self._keys["mask", ids] = sha256_json([mapping, rows])
        return self._keys["mask", ids]

    def file_key(self, files: Mapping[str, Path]) -> str:
        """Return a SHA-256 of one file an image, by id. Raises `DataError` when one can't be read."""
        prints, problems = self.fingerprints.take([("file", path) for path in files.values()])
        _raise_if_any(problems)
        return sha256_json([[id, prints[files[id]].sha256] for id in sorted(files)])

    def digests(self, kind: Kind, ids: Sequence[str]) -> list[str]:
        """Return the hex SHA-256 of each image's photo or mask file, in the order of `ids`.

        Raises `DataError` when one can't be decoded.
        """
        return [found.sha256 for found in self._take(kind, ids)]

    def _take(self, kind: Kind, ids: Sequence[str]) -> list[Fingerprint]:
        files = [(kind, _path(self.dataset, kind, id)) for id in ids]
        prints, problems = self.fingerprints.take(files)
        _raise_if_any(problems)
        return [prints[path] for _, path in files]


def open_data(
    spec: DataSpec,
    *,
    storage: Path,
    workers: int = 1,
    progress: Progress | None = None,
    verify: bool = True,
) -> DataView:
    """Open a study's data, of whichever kind; the embedded sample is written below `storage` when it is
    not there yet.

    With a list of classes, images that show none of them are left out. Raises one `DataError` with all
    problems: those that `data check` finds in these images.

    Args:
        spec: a study's `data`.
        storage: the folder for the sample and for what was verified (`cache/fingerprints.json`).
        workers: processes that decode.
        progress: gets (files done, all files).
        verify: whether to read every annotation, and to decode in full every photo and every mask that will
            be scored, once. Workers of a process that has verified need not do so again.

    Examples:
        >>> import tempfile
        >>> from wsss.config import DataSpec, SampleSpec
        >>> spec = DataSpec(dataset="sample", sample=SampleSpec(train=12, val=4, size=64))
        >>> data = open_data(spec, storage=Path(tempfile.mkdtemp()))
        >>> data.dataset.classes
        ('deer', 'elephant', 'hare', 'lion', 'ram')
        >>> len(data.train), len(data.select), len(data.report), data.train[0]
        (12, 6, 6, 'sample_000001')
    """
    spec = spec.resolved(Path.cwd())
    dataset = _open(spec, storage)
    try:
        splits = build_splits(spec, lambda name: _in_use(dataset, dataset.split(name)))
    except DataError as error:
        _raise_if_any([*dataset.problems, *error.problems])
        raise
    fingerprints = Fingerprints(storage / "cache" / "fingerprints.json")
    warnings: list[Problem] = []
    if verify:
        images = Images(
            labelled=splits.labelled_ids,
            masked=splits.masked_ids,
            unlabelled=splits.test,
            trained=splits.train if spec.limit is None else None,
            others=lambda: _beyond_limit(spec, dataset),
        )
        found = check_images(dataset, images, fingerprints, workers, progress)
        count = len(found.problems)
        _raise_if_any(found.problems, title=f"{count} problem{'s' * (count != 1)} in {dataset.root}")
        twins, perhaps = _twins(dataset, splits, spec, fingerprints)
        _raise_if_any(twins)
        warnings = [*found.warnings, *perhaps]
        if not spec.scored and splits.holdout and not dataset.labels(splits.holdout).any():
            message = f"no class is on any of its {len(splits.holdout)} images, so mAP can't be measured"
            raise DataError(Problem("data.holdout", message, "say a larger share, or 0 for no hold-out"))
    return DataView(
        dataset=dataset,
        train=splits.train,
        holdout=splits.holdout,
        select=splits.select,
        report=splits.report,
        test=splits.test,
        teach=splits.teach,
        fingerprints=fingerprints,
        warnings=tuple(warnings),
    )


def _twins(
    dataset: PhotoSet, splits: Splits, spec: DataSpec, fingerprints: Fingerprints
) -> tuple[list[Problem], list[Problem]]:
    """Return what is wrong, and what may be, with photos that lists share under other names."""
    names = ("train", "holdout", "select", "report", "test", "teach")
    lists = {name: getattr(splits, name) for name in names}
    return find_twins(lists, photo_prints(dataset, lists, fingerprints), spec.allow, str(dataset.root))


def _beyond_limit(spec: DataSpec, dataset: PhotoSet) -> tuple[str, ...]:
    """Return the images with masks that the lists name, be there a limit or not."""
    if spec.limit is None:
        return ()
    whole = build_splits(
        spec.model_copy(update={"limit": None}), lambda name: _in_use(dataset, dataset.split(name))
    )
    return whole.masked_ids


def _open(spec: DataSpec, storage: Path) -> PhotoSet:
    kind = DATA_SETS[spec.dataset]
    if spec.root is None and kind.needs_root:
        raise DataError(Problem("data.root", "is missing, but must name the data set's folder"))
    dataset: PhotoSet = kind.open(spec, storage)
    return dataset


def _in_use(dataset: PhotoSet, ids: tuple[str, ...]) -> list[str]:
    if dataset.classes == dataset.known_classes:
        return list(ids)
    return [id for id, row in zip(ids, dataset.labels(ids), strict=True) if row.any()]


def _path(dataset: PhotoSet, kind: Kind, id: str) -> Path:
    return dataset.image_path(id) if kind == "photo" else dataset.mask_path(id)


def _raise_if_any(problems: Sequence[Problem], title: str = "") -> None:
    if not problems:
        return
    raise DataError(problems[:MOST_LISTED], title=title, more=max(0, len(problems) - MOST_LISTED))


def working_sizes(data: DataView, ids: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Return the (height, width) at which stages see photos. Raises `DataError` for one without a size."""
    return {id: working_size(*size)[::-1] for id, size in photo_sizes(data, ids).items()}


def photo_sizes(data: DataView, ids: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Return the (width, height) of upright photos as they are on disk, from their headers."""
    paths = {id: data.dataset.image_path(id) for id in ids}
    return {id: data.fingerprints.size(path) or photo_size(path) for id, path in paths.items()}
