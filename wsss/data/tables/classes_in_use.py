"""Whether labels and masks speak of the same classes, looked at class by class over a whole data set.

A single image proves nothing: a difficult object may have a label and no pixels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from wsss.data.photo_set import PhotoSet
from wsss.data.pictures.fingerprint import Fingerprint, Fingerprints
from wsss.data.readers.annotations import Annotation
from wsss.data.tables.class_names import EMPTY_HINT, is_doubtful
from wsss.errors import DataError, Problem
from wsss.labels import IGNORED

RARE = 0.05
"""Up to this share of images, labels and masks may disagree with a warning: PASCAL VOC's own are not free
of slips. What is more frequent has a cause, such as classes in the wrong order."""
MOST_NAMED = 8


@dataclass(frozen=True)
class Images:
    """Which images a check looks at, and for what: `labelled` ones have labels, `masked` ones masks.

    `trained` are the photos that a classifier learns from, None while that is open. `others` gives more
    images with masks, beyond a limit: the check looks there for a class that no mask shows.
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


ORDER_HINT = "are the classes in the order of their ids in masks?"
IGNORED_HINT = f"{IGNORED} is ignored: an object's pixels hold the number of its class, from 1"
MOST_MASKS = 20
"""Masks that are named where many show a class that their labels don't name."""


def weigh(
    problems: Mapping[str, Sequence[Problem]], total: int, of_image: dict[str, list[Problem]], found: Findings
) -> None:
    """Add problems to those of their images, or to the warnings when few images have one.

    Args:
        problems: by image.
        total: of images.
        of_image: the problems of each image so far.
        found: whose warnings grow.
    """
    for id, some in problems.items():
        (found.warnings if len(problems) <= RARE * total else of_image[id]).extend(some)


def compare_classes(
    found: Findings,
    of_image: dict[str, list[Problem]],
    dataset: PhotoSet,
    labels: Mapping[str, Annotation],
    *,
    masks: Mapping[str, Fingerprint],
    images: Images,
    fingerprints: Fingerprints,
) -> None:
    """Compare what labels name with what masks show.

    Args:
        found: takes what is wrong with a class.
        of_image: takes what is wrong with an image, by id.
        dataset: the set.
        labels: annotations by id, of the images whose labels are read.
        masks: fingerprints by id, of the masks that hold no other ids than the classes'.
        images: which images are looked at, and for what.
        fingerprints: of files that were decoded before.
    """
    shown = {id: _shown(dataset, mask) for id, mask in masks.items()}
    both = sorted(id for id in masks if id in labels)
    unnamed: dict[str, list[str]] = {}
    for id in both:
        for name in sorted(shown[id] - {*labels[id].names}):
            unnamed.setdefault(name, []).append(id)
    counts = Counter(name for id in both for name in shown[id])
    for name in dataset.classes:
        named = [id for id in both if name in labels[id].names]
        if named and not counts[name] and not _shown_beyond(dataset, name, images, masks, fingerprints):
            found.problems.append(_never_shown(dataset, name, named, masks, unnamed))
    unseen = sorted(id for id in masks if id not in labels)
    if unseen and not any(shown[id] & {*dataset.classes} for id in unseen):
        values = _listed(map(str, sorted({k for id in unseen for k in masks[id].ids})))
        message = f"no class in use is in any of {len(unseen)} masks without labels: they hold {values}"
        found.problems.append(Problem(str(dataset.mask_path(unseen[0])), message, IGNORED_HINT))
    everywhere = {name for annotation in labels.values() for name in annotation.names}
    for name, ids in unnamed.items():
        hint = ORDER_HINT if len(unnamed) > 1 else ""  # one name in place of another makes two
        if name not in everywhere and len(ids) > 1:
            message = f"{len(ids)} masks, this one for one, show {name}, but no label names it"
            found.problems.append(Problem(str(dataset.mask_path(ids[0])), message, ORDER_HINT))
            continue
        message = f"mask shows {name}, but the annotation does not name it"
        problems = {id: [Problem(str(dataset.mask_path(id)), message, hint)] for id in ids}
        if len(ids) <= max(MOST_MASKS, RARE * counts[name]):
            weigh(problems, counts[name], of_image, found)
            continue
        for id in ids[:MOST_MASKS]:
            of_image[id] += problems[id]
        message = f"{len(ids) - MOST_MASKS} more masks show {name}, but the annotations do not name it"
        found.problems.append(Problem(str(dataset.root), message, hint))


def _never_shown(
    dataset: PhotoSet,
    name: str,
    named: Sequence[str],
    masks: Mapping[str, Fingerprint],
    unnamed: Iterable[str],
) -> Problem:
    mask_id = dataset.known_classes.index(name) + 1
    ids = sorted({k for id in named for k in masks[id].ids})
    what = f"class {name!r} is named by the labels of {len(named)} images with masks, but no mask shows it"
    message = f"{what}: id {mask_id} is in none, and the masks of those images hold {_listed(map(str, ids))}"
    if unnamed:
        hint = f"labels don't name {_listed(unnamed)}, which masks show: {ORDER_HINT}"
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
    images: Images,
    masks: Mapping[str, Fingerprint],
    fingerprints: Fingerprints,
) -> bool:
    """Whether a mask of another image shows the class; those whose labels name it are opened in turn."""
    for id in images.others():
        try:
            if id in masks or name not in dataset.annotation(id).names:
                continue
            prints, _ = fingerprints.take([("mask", path := dataset.mask_path(id))])
        except DataError:
            continue  # it is not in use, so that its faults don't matter
        if path in prints and name in _shown(dataset, prints[path]):
            return True
    return False


def warn_of_classes(
    found: Findings, dataset: PhotoSet, labels: Mapping[str, Annotation], images: Images
) -> None:
    """Warn of classes that every photo shows, or none: a classifier learns nothing of them; and of names that
    are classes only because they occur as labels.

    Args:
        found: whose warnings grow.
        dataset: names the classes.
        labels: by id.
        images: which of them train.
    """
    where = str(dataset.root)
    doubtful = [name for name in dataset.implied_classes if is_doubtful(name)]
    if doubtful:
        kind = "classes" if len(doubtful) > 1 else "a class"
        message = f"labels name {_listed(map(repr, doubtful))}, so that the data set has {kind} of that name"
        hint = f"{EMPTY_HINT}; if meant, write classes.txt, one class a line"
        found.warnings.append(Problem(where, message, hint))
    trained = [labels[id] for id in images.trained or () if id in labels]
    if len(trained) < 2:
        return
    counts = Counter(name for annotation in trained for name in annotation.names)
    always = [name for name in dataset.classes if counts[name] == len(trained)]
    never = [name for name in dataset.classes if not counts[name]]
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


def _listed(names: Iterable[str]) -> str:
    names = list(dict.fromkeys(names))
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
