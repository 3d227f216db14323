"""A thorough look at a data set, for `data check`: every problem of every file, with its path."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from wsss.data.annotations import Annotation, read_annotation
from wsss.data.fingerprint import Fingerprint, inspect, size_message
from wsss.data.photo_set import IGNORED, PhotoSet, mask_id_problem
from wsss.data.pool import Progress, map_files
from wsss.data.voc import VocDataset
from wsss.errors import DataError, Problem


def check_dataset(
    dataset: PhotoSet, splits: Sequence[str], workers: int = 1, progress: Progress | None = None
) -> list[Problem]:
    """Return all problems of the set and of the images in the named lists; none means a sound data set.

    Looked for: lists that are missing or empty, name an image twice or lead out of the folder; files
    that are missing, cut short or can't be decoded; photo, mask and annotation of different sizes;
    unknown classes and mask ids; classes that a mask shows but the annotation does not name. (The
    other way round is no problem: a difficult object may have no pixels in the mask.)
    """
    problems: list[Problem] = [*dataset.problems]
    ids: dict[str, None] = {}
    for name in splits:
        try:
            ids.update(dict.fromkeys(dataset.split(name)))
        except DataError as error:
            problems += error.problems
    foreign = dataset.foreign_classes(list(ids)) if isinstance(dataset, VocDataset) else None
    if foreign:
        problems.append(foreign)
    check = functools.partial(check_image, dataset, any_class=foreign is not None)
    for found in map_files(check, list(ids), workers=workers, progress=progress):
        problems += found
    return problems


def check_image(dataset: PhotoSet, id: str, *, any_class: bool = False) -> list[Problem]:
    """Return the problems of one image's photo, mask and annotation; with `any_class`, not those of
    classes, which are then unknown."""
    problems: list[Problem] = []
    photo = _inspected(problems, inspect(("photo", dataset.image_path(id))))
    path = dataset.mask_path(id) if dataset.has_mask(id) else None
    mask = _inspected(problems, inspect(("mask", path))) if path else None
    annotation: Annotation | None = None
    try:
        annotation = read_annotation(dataset.annotation_path(id)) if any_class else dataset.annotation(id)
    except DataError as error:
        problems += error.problems
    if photo and mask and photo.size != mask.size:
        problems.append(Problem(str(path), size_message("mask", mask.size, photo.size)))
    if photo and annotation and annotation.size not in (None, photo.size):
        assert annotation.size is not None
        message = size_message("annotated size", annotation.size, photo.size)
        problems.append(Problem(str(dataset.annotation_path(id)), message))
    if any_class or not mask:
        return problems
    wrong_ids = mask_id_problem(dataset.mask_path(id), mask.ids, dataset)
    if wrong_ids:
        problems.append(wrong_ids)
    elif annotation:
        shown = [dataset.known_classes[k - 1] for k in mask.ids if k not in (0, IGNORED)]
        for name in shown:
            if name not in annotation.names:
                message = f"mask shows {name}, but the annotation does not name it"
                problems.append(Problem(str(path), message))
    return problems


def _inspected(problems: list[Problem], result: Fingerprint | tuple[Problem, ...]) -> Fingerprint | None:
    if isinstance(result, Fingerprint):
        return result
    problems += result
    return None
