"""What a study's data hold, image by image, in a few bytes each: so that a later run can say what changed.

Digests tell that something changed, never what an artefact was made of: keys do that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wsss.data.view import DataView

DIGITS = 12
"""Hex digits of a SHA-256 that are kept."""
PARTS = {"t": "train", "h": "holdout", "s": "select", "r": "report", "x": "test", "m": "teach"}
NAMED = 3
"""Images that a change names."""
Digest = Annotated[str, Field(pattern=rf"^[0-9a-f]{{{DIGITS}}}$")]


class Held(NamedTuple):
    """What is held of one image."""

    parts: Annotated[str, Field(pattern=rf"^[{''.join(PARTS)}]+$")]
    """The purposes that the image serves, by their letters."""
    photo: Digest
    labels: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    """Numbers of the classes it shows, from 0; None where labels are not looked at."""
    mask: Digest | None = None
    """None where no mask is looked at."""


class Inventory(BaseModel):
    """The data of a study: classes in use in their order, images by id, digests of imported folders."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    version: Literal[1] = 1
    classes: tuple[str, ...]
    images: dict[str, Held]
    imports: tuple[str, ...] = ()

    def shown(self, id: str) -> frozenset[str] | None:
        """Return the names of the classes that an image shows, None where labels are not looked at."""
        labels = self.images[id].labels
        return None if labels is None else frozenset(self.classes[k] for k in labels if k < len(self.classes))

    def to_json(self) -> str:
        return self.model_dump_json()


def read_inventory(text: str | bytes | None) -> Inventory | None:
    """Return what `Inventory.to_json` wrote; None without it, and for anything else."""
    try:
        return None if text is None else Inventory.model_validate_json(text)
    except (ValidationError, ValueError):
        return None


def take_inventory(data: DataView, *, imports: Iterable[str] = (), masks_train: bool = False) -> Inventory:
    """Return what the data hold.

    Args:
        data: the study's data. Each file is read once, as `DataView` remembers it.
        imports: digests of folders that other programs filled and the study reads.
        masks_train: whether masks of training images may be read, too.

    Raises `DataError` for a file that can't be read.
    """
    parts = {letter: getattr(data, name) for letter, name in PARTS.items()}
    purposes: dict[str, str] = {}
    for letter, ids in parts.items():
        for id in ids:
            purposes[id] = purposes.get(id, "") + letter
    ids = sorted(purposes)
    photos = dict(zip(ids, data.digests("photo", ids), strict=True))
    labelled = sorted({*data.labelled_ids, *data.teach})
    labels = dict(zip(labelled, data.dataset.labels(labelled), strict=True))
    masked = {*data.select, *data.report, *data.test, *data.teach}
    if masks_train:
        masked |= {id for id in data.train if data.dataset.has_mask(id)}
    masks = dict(zip(sorted(masked), data.digests("mask", sorted(masked)), strict=True))
    images = {
        id: Held(
            purposes[id],
            photos[id][:DIGITS],
            tuple(labels[id].nonzero()[0].tolist()) if id in labels else None,
            masks[id][:DIGITS] if id in masks else None,
        )
        for id in ids
    }
    return Inventory(classes=data.dataset.classes, images=images, imports=tuple(d[:DIGITS] for d in imports))


def changes(before: Inventory, now: Inventory) -> list[str]:
    """Return what differs, a sentence each, with numbers and a few names; none means nothing."""
    if before == now:
        return []
    renamed = _renamed(before, now)
    return [*_classes(before, now, renamed), *_images(before, now, renamed)]


def _renamed(before: Inventory, now: Inventory) -> dict[str, str]:
    """Return old → new names of classes that the same images show, of those in both."""
    gone = [name for name in before.classes if name not in now.classes]
    new = [name for name in now.classes if name not in before.classes]
    common = [id for id in before.images if id in now.images]

    def images_of(inventory: Inventory, name: str) -> frozenset[str]:
        return frozenset(id for id in common if name in (inventory.shown(id) or ()))

    by_images: dict[frozenset[str], list[str]] = {}
    for name in new:
        by_images.setdefault(images_of(now, name), []).append(name)
    found: dict[str, str] = {}
    for name in gone:
        images = images_of(before, name)
        alike = by_images.get(images, []) if images else []
        if len(alike) == 1 and alike[0] not in found.values():
            found[name] = alike[0]
    return found


def _classes(before: Inventory, now: Inventory, renamed: Mapping[str, str]) -> Iterator[str]:
    for old, new in renamed.items():
        yield f"class {old!r} is called {new!r} now"
    gone = [name for name in before.classes if name not in now.classes and name not in renamed]
    new_ones = [n for n in now.classes if n not in before.classes and n not in renamed.values()]
    if gone:
        yield f"{_count(len(gone), 'class is', 'classes are')} gone ({_some(gone)})"
    if new_ones:
        yield f"{_count(len(new_ones), 'class is', 'classes are')} new ({_some(new_ones)})"
    kept = [renamed.get(name, name) for name in before.classes if name not in gone]
    if kept != [name for name in now.classes if name not in new_ones]:
        yield "the classes stand in another order"


def _images(before: Inventory, now: Inventory, renamed: Mapping[str, str]) -> Iterator[str]:
    old, new = before.images, now.images
    common = [id for id in old if id in new]
    yield from _said([id for id in new if id not in old], "photo is new", "photos are new")
    yield from _said([id for id in old if id not in new], "photo is gone", "photos are gone")
    changed = [id for id in common if old[id].photo != new[id].photo]
    yield from _said(changed, "photo has changed", "photos have changed")
    relabelled = []
    for id in common:
        shown, shows = before.shown(id), now.shown(id)
        if shown is not None and shows is not None and {renamed.get(n, n) for n in shown} != shows:
            relabelled.append(id)
    yield from _said(relabelled, "photo has other labels", "photos have other labels")
    masks = [(id, old[id].mask, new[id].mask) for id in common]
    added = [id for id, was, mask in masks if was is None and mask is not None]
    lost = [id for id, was, mask in masks if was is not None and mask is None]
    other = [id for id, was, mask in masks if was is not None and mask is not None and was != mask]
    yield from _said(added, "photo is scored by a mask now", "photos are scored by masks now")
    yield from _said(lost, "photo's mask is not used any more", "photos' masks are not used any more")
    yield from _said(other, "mask has changed", "masks have changed")
    moved = [id for id in common if old[id].parts != new[id].parts]
    names = ", ".join(PARTS.values())
    yield from _said(moved, f"photo is in other lists ({names})", f"photos are in other lists ({names})")
    if before.imports != now.imports:
        yield "what other programs made (`import`) has changed"


def _said(ids: Sequence[str], one: str, many: str) -> Iterator[str]:
    if ids:
        yield f"{_count(len(ids), one, many)}: {_some(ids)}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join([*(str(name)[:60] for name in names[:NAMED]), *([f"{more} more"] if more > 0 else [])])
