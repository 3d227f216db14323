"""What is wrong with a data set: the same for `data check` and before a study starts.

Both refuse a problem; a warning may be meant, but is more often a slip.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from wsss.data.photo_set import PhotoSet, mask_id_problem
from wsss.data.pictures.fingerprint import File, Fingerprint, Fingerprints, size_message
from wsss.data.pool import Progress
from wsss.data.readers.annotations import Annotation
from wsss.data.readers.voc import VocDataset
from wsss.data.tables.classes_in_use import Findings, Images, compare_classes, warn_of_classes, weigh
from wsss.data.twins import contradictions, twins_of_lists
from wsss.errors import DataError, Problem


def check_lists(
    dataset: PhotoSet, splits: Sequence[str], workers: int = 1, progress: Progress | None = None
) -> Findings:
    """Return what is wrong with the set and with the images in the named lists, as `check_images` does.

    Warned of, too: photos that stand in two lists under other names, or with other labels.

    Args:
        dataset: to look at.
        splits: names of lists.
        workers: processes that decode.
        progress: gets (files done, all files).
    """
    lists: dict[str, tuple[str, ...]] = {}
    masked: dict[str, None] = {}
    broken: list[Problem] = []
    unmasked: list[Problem] = []
    for name in splits:
        try:
            listed = lists[name] = dataset.split(name)
        except DataError as error:
            broken += error.problems
            continue
        expected = _expected_masks(dataset, listed)
        masked.update(dict.fromkeys(expected))
        without = sum(dataset.has_mask(id) for id in listed) - len(expected)
        if without:
            message = f"{without} of {len(listed)} images have no mask: they can train, but not be scored"
            unmasked.append(Problem(f"{dataset.root}, list {name}", message))
    ids = tuple(dict.fromkeys(id for listed in lists.values() for id in listed))
    fingerprints = Fingerprints(None)
    images = Images(ids, tuple(masked), trained=ids)
    found = check_images(dataset, images, fingerprints, workers, progress)
    own = len(dataset.problems)
    found.problems[own:own] = broken
    found.warnings += [*unmasked, *_twins(dataset, lists, fingerprints)]
    return found


def photo_prints(
    dataset: PhotoSet, lists: Mapping[str, Sequence[str]], fingerprints: Fingerprints
) -> dict[str, Fingerprint]:
    """Return id → fingerprint of the photos in lists, of those that are whole and were looked at before."""
    prints: dict[str, Fingerprint] = {}
    for id in dict.fromkeys(id for listed in lists.values() for id in listed):
        with contextlib.suppress(DataError):  # among the problems of the check
            if found := fingerprints.known(dataset.image_path(id)):
                prints[id] = found
    return prints


def _twins(
    dataset: PhotoSet, lists: Mapping[str, Sequence[str]], fingerprints: Fingerprints
) -> list[Problem]:
    """Return warnings of photos that stand in several lists, or have several labels, under other names."""
    prints = photo_prints(dataset, lists, fingerprints)

    def labels(id: str) -> tuple[str, ...] | None:
        try:
            return dataset.annotation(id).names
        except DataError:
            return None

    whole = {name: [id for id in listed if id in prints] for name, listed in lists.items()}
    where = str(dataset.root)
    return [*twins_of_lists(whole, prints, where), *contradictions(prints, labels, where)]


def _expected_masks(dataset: PhotoSet, ids: Sequence[str]) -> list[str]:
    """Return the images of a list that should have masks; of one that is for training alone, as PASCAL
    VOC's augmented list is, those that have."""
    expected = [id for id in ids if dataset.has_mask(id)]
    try:
        there = [id for id in expected if dataset.mask_path(id).is_file()]
    except DataError:
        return expected
    return there if len(there) < len(expected) / 2 else expected


def check_images(
    dataset: PhotoSet,
    images: Images,
    fingerprints: Fingerprints,
    workers: int = 1,
    progress: Progress | None = None,
) -> Findings:
    """Return all problems of the set and of some of its images; none means that they can be used.

    Looked for: files that are missing, cut short or can't be decoded; photo, mask and annotation of
    different sizes; images without labels; unknown classes and mask ids; masks that show a class their
    labels don't name (a few among many are a warning); classes that labels name and no mask shows. (In a
    single image that is no problem: a difficult object may have no pixels in the mask.) Warned of: a
    class that every photo shows or none does.

    Args:
        dataset: the set.
        images: which of them to look at, and for what.
        fingerprints: of files that were decoded before.
        workers: processes that decode.
        progress: gets (files done, all files).
    """
    labels = _read_labels(dataset, images.labelled)
    foreign = labels.foreign(dataset)
    if foreign:
        labels.problems.clear()  # they all say what that says
    files, of_image = _files(dataset, images)
    paths = [file for kinds in files.values() for file in kinds.values()]
    prints, broken = fingerprints.take(paths, workers=workers, progress=progress)
    by_place: dict[str, list[Problem]] = {}
    for problem in broken:
        by_place.setdefault(problem.where, []).append(_with_hint(dataset, problem))
    masks: dict[str, Fingerprint] = {}
    sizes: dict[str, list[Problem]] = {}
    for id, kinds in files.items():
        photo, mask = (prints.get(kinds[kind][1]) if kind in kinds else None for kind in ("photo", "mask"))
        for _, path in kinds.values():
            of_image[id] += by_place.get(str(path), ())
        of_image[id] += labels.problems.get(id, ())
        wrong = _mask_problems(dataset, mask, photo, id, ids_are_known=not foreign) if mask else []
        of_image[id] += wrong
        if mask and not wrong:
            masks[id] = mask
        annotation = labels.read.get(id)
        if photo and annotation and annotation.size and annotation.size != photo.size:
            message = size_message("annotated size", annotation.size, photo.size)
            sizes[id] = [Problem(str(dataset.annotation_path(id)), message)]
    found = Findings()
    weigh(sizes, len(labels.read), of_image, found)
    if not foreign:
        compare_classes(
            found, of_image, dataset, labels.read, masks=masks, images=images, fingerprints=fingerprints
        )
        warn_of_classes(found, dataset, labels.read, images)
    listed = [problem for problems in of_image.values() for problem in problems]
    found.problems = [*dataset.problems, *([foreign] if foreign else []), *listed, *found.problems]
    return found


def _mask_problems(
    dataset: PhotoSet, mask: Fingerprint, photo: Fingerprint | None, id: str, *, ids_are_known: bool
) -> list[Problem]:
    path = dataset.mask_path(id)
    problems = []
    if photo and photo.size != mask.size:
        problems.append(Problem(str(path), size_message("mask", mask.size, photo.size)))
    wrong = mask_id_problem(path, mask.ids, dataset) if ids_are_known else None
    return [*problems, wrong] if wrong else problems


# Reading


@dataclass
class _LabelsRead:
    read: dict[str, Annotation] = field(default_factory=dict)
    problems: dict[str, list[Problem]] = field(default_factory=dict)

    def foreign(self, dataset: PhotoSet) -> Problem | None:
        """Return what is wrong when the classes are not the data set's at all."""
        if not self.problems or not isinstance(dataset, VocDataset):
            return None
        return dataset.foreign_classes([*self.problems, *self.read])


def _read_labels(dataset: PhotoSet, ids: Sequence[str]) -> _LabelsRead:
    labels = _LabelsRead()
    for id in ids:
        try:
            labels.read[id] = dataset.annotation(id)
        except DataError as error:
            labels.problems[id] = [_with_hint(dataset, problem) for problem in error.problems]
    return labels


def _with_hint(dataset: PhotoSet, problem: Problem) -> Problem:
    """Return the problem with the name of the file that is there in place of a missing one."""
    path = Path(problem.where)
    if problem.hint or path.exists():
        return problem
    return replace(problem, hint=dataset.missing_hint(path))


def _files(dataset: PhotoSet, images: Images) -> tuple[dict[str, dict[str, File]], dict[str, list[Problem]]]:
    """Return the files of each image by kind, and by image what keeps one of them from being found."""
    masked = set(images.masked)
    files: dict[str, dict[str, File]] = {}
    problems: dict[str, list[Problem]] = {}
    for id in images.all_ids:
        files[id], problems[id] = {}, []
        try:
            files[id]["photo"] = ("photo", dataset.image_path(id))
            if id in masked:
                files[id]["mask"] = ("mask", dataset.mask_path(id))
        except DataError as error:
            problems[id] += error.problems
    return files, problems
