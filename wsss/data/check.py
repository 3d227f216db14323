"""What is wrong with a data set: the same for `data check` and before a study starts.

A problem is refused by both; a warning is what may be meant, but is more often a slip.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from wsss.data.annotations import Annotation
from wsss.data.fingerprint import File, Fingerprint, Fingerprints, size_message
from wsss.data.photo_set import IGNORED, PhotoSet, mask_id_problem
from wsss.data.pool import Progress
from wsss.data.voc import VocDataset
from wsss.errors import DataError, Problem

RARE = 0.05
"""Up to this share of images, labels and masks may disagree with a warning: PASCAL VOC's own are not free
of slips. What is more frequent has a cause, such as classes in the wrong order."""
MOST_NAMED = 8


@dataclass(frozen=True)
class Images:
    """Which images are looked at, and for what: `labelled` ones have labels, `masked` ones masks.

    `trained` are the photos that a classifier learns from, None where nobody says so yet. `others` gives
    more images with masks, beyond a limit: they are looked at for a class that no mask shows.
    """

    labelled: Sequence[str]
    masked: Sequence[str]
    unlabelled: Sequence[str] = ()
    trained: Sequence[str] | None = None
    others: Callable[[], Sequence[str]] = tuple

    @property
    def all_ids(self) -> list[str]:
        return list(dict.fromkeys((*self.labelled, *self.masked, *self.unlabelled)))


@dataclass
class Findings:
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


def check_lists(
    dataset: PhotoSet, splits: Sequence[str], workers: int = 1, progress: Progress | None = None
) -> Findings:
    """Return what is wrong with the set and with the images in the named lists, as `check_images` does."""
    ids: dict[str, None] = {}
    masked: dict[str, None] = {}
    broken: list[Problem] = []
    for name in splits:
        try:
            listed = dataset.split(name)
        except DataError as error:
            broken += error.problems
            continue
        ids.update(dict.fromkeys(listed))
        masked.update(dict.fromkeys(_expected_masks(dataset, listed)))
    images = Images(tuple(ids), tuple(masked), trained=tuple(ids))
    found = check_images(dataset, images, Fingerprints(None), workers, progress)
    own = len(dataset.problems)
    found.problems[own:own] = broken
    return found


def _expected_masks(dataset: PhotoSet, ids: Sequence[str]) -> list[str]:
    """Return the images of a list that should have masks; of one that is for training alone, as PASCAL
    VOC's augmented list is, those that have."""
    expected = [id for id in ids if dataset.has_mask(id)]
    try:
        there = [id for id in expected if dataset.mask_path(id).is_file()]
    except DataError:
        return expected
    return there if len(there) < len(expected) / 2 else expected


def check_dataset(
    dataset: PhotoSet, splits: Sequence[str], workers: int = 1, progress: Progress | None = None
) -> list[Problem]:
    """Return the problems alone of `check_lists`; none means a sound data set."""
    return check_lists(dataset, splits, workers, progress).problems


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
    """
    found = Findings([*dataset.problems])
    labels = _read_labels(dataset, images.labelled)
    foreign = labels.foreign(dataset)
    files, unplaced = _files(dataset, images)
    paths = [file for pair in files.values() for file in pair.values()]
    prints, broken = fingerprints.take(paths, workers=workers, progress=progress)
    by_place: dict[str, list[Problem]] = {}
    for problem in broken:
        by_place.setdefault(problem.where, []).append(problem)
    masks: dict[str, Fingerprint] = {}
    sizes: list[Problem] = []
    if foreign:
        found.problems.append(foreign)
    for id in files:
        photo, mask = (
            prints.get(files[id][kind][1]) if kind in files[id] else None for kind in ("photo", "mask")
        )
        found.problems += unplaced.get(id, [])
        for _, path in files[id].values():
            found.problems += [_with_hint(dataset, problem) for problem in by_place.get(str(path), ())]
        found.problems += [] if foreign else labels.problems.get(id, [])
        annotation = labels.read.get(id)
        if photo and mask and photo.size != mask.size:
            path = files[id]["mask"][1]
            found.problems.append(Problem(str(path), size_message("mask", mask.size, photo.size)))
        if photo and annotation and annotation.size and annotation.size != photo.size:
            path = dataset.annotation_path(id)
            sizes.append(Problem(str(path), size_message("annotated size", annotation.size, photo.size)))
        if mask and not foreign:
            wrong = mask_id_problem(files[id]["mask"][1], mask.ids, dataset)
            if wrong:
                found.problems.append(wrong)
            else:
                masks[id] = mask
    _weigh(found, sizes, len(labels.read))
    if not foreign:
        _compare(found, dataset, labels.read, masks, images, fingerprints)
        _look_at_classes(found, dataset, labels.read, images)
    return found


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
    """Return the files of each image by kind, and by image what keeps one from being found."""
    masked = set(images.masked)
    files: dict[str, dict[str, File]] = {}
    unplaced: dict[str, list[Problem]] = {}
    for id in images.all_ids:
        files[id] = {}
        try:
            files[id]["photo"] = ("photo", dataset.image_path(id))
            if id in masked:
                files[id]["mask"] = ("mask", dataset.mask_path(id))
        except DataError as error:
            unplaced[id] = [*error.problems]
    return files, unplaced


# Labels and masks


def _compare(
    found: Findings,
    dataset: PhotoSet,
    labels: dict[str, Annotation],
    masks: dict[str, Fingerprint],
    images: Images,
    fingerprints: Fingerprints,
) -> None:
    """Compare what labels name with what masks show, class by class over all images."""
    both = [id for id in masks if id in labels]
    shown = {id: _shown(dataset, mask) for id, mask in masks.items()}
    counts = Counter(name for id in both for name in shown[id])
    unnamed: dict[str, list[Problem]] = {}
    for id in both:
        for name in sorted(shown[id] - {*labels[id].names}):
            message = f"mask shows {name}, but the annotation does not name it"
            unnamed.setdefault(name, []).append(Problem(str(dataset.mask_path(id)), message))
    for name in dataset.classes:
        named = [id for id in both if name in labels[id].names]
        if not named or any(name in shown[id] for id in both):
            continue
        if not _shown_beyond(dataset, name, images.others(), masks, fingerprints):
            found.problems.append(_never_shown(dataset, name, named, masks, unnamed))
    unseen = [id for id in masks if id not in labels]
    if unseen and not any(shown[id] & {*dataset.classes} for id in unseen):
        message = (
            f"no class is in any of {len(unseen)} masks, this one for one: {_ids_text(masks[unseen[0]])}"
        )
        found.problems.append(Problem(str(dataset.mask_path(unseen[0])), message, IGNORED_HINT))
    for name, problems in unnamed.items():
        nowhere = not any(name in annotation.names for annotation in labels.values())
        if nowhere and len(problems) > 1:
            message = f"mask shows {name}, as {len(problems) - 1} more masks do, but no label names it"
            hint = "are the classes in the order of the ids in masks?"
            found.problems.append(Problem(problems[0].where, message, hint))
        else:
            _weigh(found, problems, counts[name])


IGNORED_HINT = f"{IGNORED} is ignored: an object's pixels hold the number of its class, from 1"


def _never_shown(
    dataset: PhotoSet,
    name: str,
    named: Sequence[str],
    masks: dict[str, Fingerprint],
    unnamed: dict[str, list[Problem]],
) -> Problem:
    mask_id = dataset.known_classes.index(name) + 1
    ids = sorted({k for id in named for k in masks[id].ids})
    what = f"class {name!r} is named by the labels of {len(named)} images with masks, but no mask shows it"
    message = f"{what}: id {mask_id} is in none, and the masks of those images hold {_listed(map(str, ids))}"
    if unnamed:
        hint = (
            f"no label names {_listed(unnamed)}, which masks show: are the classes in the order of their ids?"
        )
    elif IGNORED in ids:
        hint = IGNORED_HINT
    else:
        hint = f"draw it as {mask_id}, or leave the class out of `data.classes`"
    return Problem(str(dataset.mask_path(named[0])), message, hint)


def _shown(dataset: PhotoSet, mask: Fingerprint) -> set[str]:
    known = dataset.known_classes
    return {known[k - 1] for k in mask.ids if 0 < k <= len(known) and k != IGNORED}


def _shown_beyond(
    dataset: PhotoSet,
    name: str,
    ids: Sequence[str],
    masks: dict[str, Fingerprint],
    fingerprints: Fingerprints,
) -> bool:
    """Whether a mask of another image shows the class; those whose labels name it are opened in turn."""
    for id in ids:
        try:
            if id in masks or name not in dataset.annotation(id).names:
                continue
            prints, _ = fingerprints.take([("mask", path := dataset.mask_path(id))])
        except DataError:
            continue  # it is not in use: nobody asked whether it is sound
        if path in prints and name in _shown(dataset, prints[path]):
            return True
    return False


def _ids_text(mask: Fingerprint) -> str:
    return f"it holds {_listed(map(str, mask.ids))}"


def _look_at_classes(
    found: Findings, dataset: PhotoSet, labels: dict[str, Annotation], images: Images
) -> None:
    """Warn of classes that every photo shows, or none: a classifier learns nothing of them."""
    trained = [labels[id] for id in images.trained or () if id in labels]
    if len(trained) < 2:
        return
    counts = Counter(name for annotation in trained for name in annotation.names)
    always = [name for name in dataset.classes if counts[name] == len(trained)]
    never = [name for name in dataset.classes if not counts[name]]
    where = str(dataset.root)
    if always:
        hint = "add photos that don't show it"
        if dataset.classes != dataset.known_classes:
            hint += "; photos that show none of `data.classes` are left out"
        message = (
            f"every one of {len(trained)} photos shows {_listed(always)}: a classifier learns nothing of it"
        )
        found.warnings.append(Problem(where, message, hint))
    if never:
        message = f"none of {len(trained)} photos shows {_listed(never)}: a classifier can't learn it"
        found.warnings.append(
            Problem(where, message, "add photos of it, or name the others in `data.classes`")
        )


def _weigh(found: Findings, problems: Sequence[Problem], total: int) -> None:
    (found.warnings if len(problems) <= RARE * total else found.problems).extend(problems)


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
