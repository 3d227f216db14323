"""The photos that `label` is given: which of them have labels, which have a mask that somebody drew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wsss.config.text.paths import absolute
from wsss.data.readers.folder import CLASSES_FILE, LABELLED, MASKED, FolderDataset
from wsss.data.readers.splits import is_held_out
from wsss.data.tables.class_names import read_class_names
from wsss.errors import ConfigError, DataError, Problem

HOLDOUT = 0.1
"""Share of the labelled photos that the classifier is examined on."""
LEAST_HELD_OUT = 4
"""With fewer photos an examination says nothing: all of them train."""
LEAST_PHOTOS = 2
"""With labels: a batch has two images."""


@dataclass(frozen=True)
class Photos:
    """A folder of photos.

    Args:
        root: the folder, absolute.
        labels: the table, absolute; None for the folder's own.
        masks: the folder of masks that somebody drew, absolute; None without any.
        classes: names, in the order of mask ids.
        labelled: ids of photos that the table names, in alphabetical order.
        drawn: those of them that have a mask, likewise.
        unlabelled: those that the table doesn't name.
    """

    root: Path
    labels: Path | None
    masks: Path | None
    classes: tuple[str, ...]
    labelled: tuple[str, ...]
    drawn: tuple[str, ...]
    unlabelled: tuple[str, ...]
    dataset: FolderDataset

    @property
    def holdout(self) -> float:
        """The share of the hold-out; 0 where it would be too few photos to say anything."""
        held = [id for id in self.labelled if is_held_out(id, HOLDOUT)]
        return HOLDOUT if len(held) >= LEAST_HELD_OUT else 0.0

    @property
    def learnt(self) -> int:
        """How many photos the classifier learns from."""
        return sum(not is_held_out(id, self.holdout) for id in self.labelled)


def find_photos(root: Path, labels: Path | None = None, masks: Path | None = None) -> Photos:
    """Return the photos of a folder. Raises one `DataError` with all that is wrong with folder and table, and
    `ConfigError` for paths that can't be.

    Args:
        root: the folder.
        labels: the table of image-level labels; the folder's own by default.
        masks: a folder of masks.
    """
    place = absolute_path(root, "PHOTOS")
    table = None if labels is None else absolute_path(labels, "--labels")
    drawn = None if masks is None else absolute_path(masks, "--masks")
    if drawn is not None and not drawn.is_dir():
        there = "is a file" if drawn.exists() else "there is no such folder"
        raise ConfigError(Problem(f"--masks {masks}", there, "a folder of <photo>.png, as `label` writes"))
    wanted = _order(place, drawn)
    dataset = FolderDataset(place, wanted or "all", labels=table, masks=drawn)
    if dataset.problems:
        raise DataError(dataset.problems, title=f"{len(dataset.problems)} problems in {place}")
    known = dataset.split(LABELLED)
    shown = dataset.labels(known)
    if len(known) < LEAST_PHOTOS or not shown.any():
        what = "no photo" if not known else "no photo with a class" if not shown.any() else "one photo"
        message = f"names {what}, but a classifier needs labels to learn from"
        raise DataError(
            Problem(str(dataset.table_path), message, "label at least a few photos of each class")
        )
    has_mask = dataset.split(MASKED) if drawn is not None else ()
    return Photos(
        place,
        table,
        drawn,
        dataset.classes,
        tuple(sorted(known)),
        tuple(sorted(set(has_mask) & set(known))),
        tuple(sorted(set(dataset.split("all")) - set(known))),
        dataset,
    )


def absolute_path(given: Path, what: str) -> Path:
    """Return an absolute path. Raises `ConfigError` for one that can't be."""
    try:
        return absolute(given)
    except ValueError as error:
        raise ConfigError(Problem(what, str(error))) from error


def _order(place: Path, masks: Path | None) -> tuple[str, ...]:
    """Return the classes of a `classes.txt` in or above the masks, where the photos have none: `label` writes
    one beside its masks."""
    if masks is None or (place / CLASSES_FILE).exists():
        return ()
    found = next((at / CLASSES_FILE for at in (masks, masks.parent) if (at / CLASSES_FILE).is_file()), None)
    return () if found is None else read_class_names(found)
