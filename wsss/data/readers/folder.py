"""A folder of photos with a table of image-level labels; masks may be there, for scoring, or not.

FOLDER/*.jpg, *.png, …      the photos, here or in FOLDER/images; an id is a name without its ending
FOLDER/labels.csv           or .tsv, .json: see `wsss.data.tables.label_csv` and `label_json`
FOLDER/masks/ID.png         palette or grey, of any of the photos
FOLDER/classes.txt          line k names mask id k; needed where nothing else orders the classes
FOLDER/NAME.txt             lists of photos, one a line
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from wsss.data.photo_set import PhotoSet, is_safe
from wsss.data.pictures.opening import PHOTO_ENDINGS, is_photo
from wsss.data.readers.annotations import Annotation, unknown_classes
from wsss.data.readers.photo_names import PhotoNames, file_name, kind_of
from wsss.data.tables.class_names import MOST_CLASSES, read_class_names, unknown_class
from wsss.data.tables.label_files import read_labels
from wsss.data.tables.label_table import LabelTable
from wsss.data.tables.text import capped, composed, nearest_name, numbered_lines, quote, tidy
from wsss.errors import DataError, Problem

PHOTOS, CLASSES_FILE = "images", "classes.txt"
LABEL_FILES = ("labels.csv", "labels.tsv", "labels.json")
SPREADSHEETS = (".xlsx", ".xls", ".ods", ".numbers")
ALL, MASKED, LABELLED = "all", "masked", "labelled"
NO_LISTS = frozenset(("readme", "license", "licence", "notes", "changelog"))
"""Text files that lie beside photos and list none."""
MOST_HINTS = 20


class FolderDataset(PhotoSet):
    """Photos of a folder, with a table that says what each of them shows.

    Raises `DataError` when there are no photos or no readable table, and `ConfigError` for unknown
    classes. `problems` has all else that is wrong with table, masks and names.

    Args:
        root: the folder.
        classes: those to use; all that the table names by default.
        labels: the table; the folder's own by default.
        masks: the folder of the masks; None for no masks.
    """

    def __init__(
        self,
        root: Path,
        classes: Literal["all"] | Sequence[str] = "all",
        *,
        labels: Path | None = None,
        masks: Path | None = None,
    ) -> None:
        root = root.absolute()
        self._problems: list[Problem] = []
        self._photos = self._find_photos(root)
        table = read_labels(labels.absolute() if labels else _find_labels(root))
        self.table_path = table.path
        self.masks = masks.absolute() if masks else None
        self._masks = self._find_masks()
        self._problems += table.problems
        super().__init__(root, self._order_classes(root, table, classes), classes)
        self._implied = classes == "all" and not os.path.lexists(root / CLASSES_FILE)
        self._labels = self._match(table)

    @property
    def problems(self) -> tuple[Problem, ...]:
        return tuple(self._problems)

    @property
    def implied_classes(self) -> tuple[str, ...]:
        return self.classes if self._implied else ()

    # Lists

    def split_names(self) -> tuple[str, ...]:
        """Return `all`, `labelled` if not all photos are, `masked` if there are masks, and the names of text
        files in the folder."""
        lists = sorted(
            path.stem
            for path in self.root.glob("*.txt")
            if path.name[0] != "." and path.name != CLASSES_FILE and path.stem.lower() not in NO_LISTS
        )
        partly = [LABELLED] if len(self._labels) < len(self._photos) and LABELLED not in lists else []
        return (ALL, *partly, *([MASKED] if self._masks else []), *lists)

    def split(self, name: str) -> tuple[str, ...]:
        """Return the ids of a list: `all` photos, those `labelled`, which the table names, those `masked`, or
        those that NAME.txt names, in its order, with or without their endings.

        Raises `DataError` when there is no such list, when it is empty, or when it names a photo twice
        or one that isn't there.
        """
        if name == ALL:
            return tuple(self._photos)
        if name == MASKED:
            return tuple(self._masks)
        path = self.root / f"{name}.txt"
        if name == LABELLED and not os.path.lexists(path):
            return tuple(id for id in self._photos if id in self._labels)
        if name not in self.split_names():
            names = self.split_names()
            hint = f"{nearest_name(name, names)}; lists: {', '.join(names)}"
            raise DataError(Problem(str(path), "list is missing", hint))
        ids: dict[str, int] = {}
        problems: list[Problem] = []
        for number, line in numbered_lines(path):
            id = self._photos.id_of(file_name(line))
            where = f"{path}:{number}"
            if id is None and line[0] == "#":
                continue
            if id is None:
                problems.append(
                    Problem(where, f"there is no photo {quote(line)}", self._nearest(line, len(problems)))
                )
            elif id in ids:
                problems.append(
                    Problem(where, f"photo {quote(line)} occurs twice", f"also in line {ids[id]}")
                )
            else:
                ids[id] = number
        if not ids and not problems:
            problems.append(Problem(str(path), "list is empty"))
        if problems:
            raise DataError(capped(problems, str(path)))
        return tuple(ids)

    def tables(self) -> tuple[Path, ...]:
        return (self.table_path, *sorted(path for path in self.root.glob("*.txt") if path.name[0] != "."))

    # Files

    def image_path(self, id: str) -> Path:
        if id not in self._photos:
            raise DataError(Problem(str(self.root), f"there is no photo {quote(id)}", self._nearest(id)))
        return self._photos.path(id)

    def mask_path(self, id: str) -> Path:
        if self.masks is None:
            raise DataError(Problem(str(self.root), f"there are no masks, but one of {id!r} is asked for"))
        path = self.image_path(id)
        return self.masks / self._masks.get(id, f"{path.stem}.png")

    def has_mask(self, id: str) -> bool:
        return id in self._masks

    def annotation_path(self, id: str) -> Path:
        return self.table_path

    def annotation(self, id: str) -> Annotation:
        """Return what the image shows. Raises `DataError` for one that the table doesn't name."""
        if id not in self._labels:
            message = f"photo {self.image_path(id).name!r} has no labels"
            hint = (
                "give it a row, with an empty label if it shows no class; or list those to use, `train: NAME`"
            )
            raise DataError(Problem(str(self.table_path), message, hint))
        return Annotation(self._labels[id], None)

    # Opening

    def _find_photos(self, root: Path) -> PhotoNames:
        if not root.is_dir():
            message = "is a file, but must be a folder" if root.is_file() else "there is no such folder"
            raise DataError(Problem(str(root), message))
        found = {place: _photos_in(place) for place in (root, root / PHOTOS)}
        if all(found.values()):
            hint = "photos belong into one of both"
            self._problems.append(Problem(str(root), f"photos lie both here and in {PHOTOS}/", hint))
        paths = next((paths for paths in found.values() if paths), [])
        if not paths:
            deeper = next((path for path in sorted(root.glob("*/*")) if is_photo(path)), None)
            hint = f"photos end in {', '.join(PHOTO_ENDINGS)}, and lie in the folder itself or in {PHOTOS}/"
            if deeper is not None:
                hint += f"; those in {deeper.parent.name}/ are not looked at"
            raise DataError(Problem(str(root), "holds no photos", hint))
        photos: dict[str, str] = {}
        for path in paths:
            id = composed(path.stem)
            if id in photos:
                message = f"has the name of {photos[id]}, but names must differ without endings"
                self._problems.append(Problem(str(path), message))
            elif not is_safe(id):
                where = str(path).encode("utf-8", "backslashreplace").decode()
                message = (
                    "a photo's name must be UTF-8 and have no '..', no backslash and no control character"
                )
                self._problems.append(Problem(where, message))
            else:
                photos[id] = path.name
        return PhotoNames(paths[0].parent, dict(sorted(photos.items())))

    def _find_masks(self) -> dict[str, str]:
        """Return id → file name of the photos with masks, in alphabetical order."""
        if self.masks is None:
            return {}
        if not self.masks.is_dir():
            there = os.path.lexists(self.masks)
            hint = f"it {kind_of(self.masks)}; `masks: none` leaves masks out" if there else ""
            raise DataError(Problem(str(self.masks), "there is no such folder of masks", hint))
        masks: dict[str, str] = {}
        for path in sorted(self.masks.iterdir()):
            id = composed(path.stem)
            if path.name.startswith(".") or (path.is_dir() and path.suffix.lower() != ".png"):
                continue
            if path.name == CLASSES_FILE:
                continue
            if not path.is_file():
                self._problems.append(Problem(str(path), f"is no mask: it {kind_of(path)}"))
                continue
            if path.suffix.lower() != ".png":
                hint = "other formats change ids" if is_photo(path) else ""
                self._problems.append(Problem(str(path), "is no mask: masks end in .png", hint))
            elif id not in self._photos:
                meant = self._photos.id_of(path.stem)  # its photo's whole name, and an ending more
                hint = f"did you mean {quote(f'{meant}.png')}?" if meant else self._nearest(path.stem)
                self._problems.append(Problem(str(path), "is the mask of no photo", hint))
            elif id in masks:
                self._problems.append(Problem(str(path), f"is the mask of the same photo as {masks[id]}"))
            else:
                masks[id] = path.name
        if not masks:
            self._problems.append(Problem(str(self.masks), "holds no mask of any photo"))
        return dict(sorted(masks.items()))

    def _order_classes(
        self, root: Path, table: LabelTable, wanted: Literal["all"] | Sequence[str]
    ) -> tuple[str, ...]:
        """Return the classes in the order of mask ids: of classes.txt, of the table's columns, or of a
        `wanted` list that names all of them; without masks, in alphabetical order."""
        named = table.class_names
        path = root / CLASSES_FILE
        if os.path.lexists(path):
            known = read_class_names(path)
            unknown = unknown_classes(named, known)
            found = [unknown_class(table.named[name], name, known, CLASSES_FILE) for name in unknown]
            self._problems += capped(found, str(table.path))
            return known
        self._problems += table.class_problems()
        if not 1 <= len(named) <= MOST_CLASSES:
            raise DataError(self._problems)
        listed = [] if wanted == "all" else [tidy(name) for name in wanted]
        if not table.columns and set(listed) == set(named):
            return tuple(dict.fromkeys(listed))
        if not table.columns and self.masks is not None and len(named) > 1:
            hint = f"write {', '.join(named)} into it, line k for mask id k"
            message = "is missing, but masks hold ids and nothing says which class is which"
            self._problems.append(Problem(str(path), message, hint))
        return named

    def _match(self, table: LabelTable) -> dict[str, tuple[str, ...]]:
        labels: dict[str, tuple[str, ...]] = {}
        written_as: dict[str, str] = {}
        problems: list[Problem] = []
        for written, names in table.labels.items():
            id = self._photos.id_of(written)
            if id is None:
                hint = self._nearest(written, len(problems))
                problems.append(Problem(table.places[written], f"there is no photo {quote(written)}", hint))
            elif id in labels:
                other = written_as[id]
                message = f"photo {quote(written)} is named before, as {quote(other)}"
                problems.append(Problem(table.places[written], message, table.places[other]))
            else:
                labels[id], written_as[id] = names, written
        self._problems += capped(problems, str(table.path))
        return labels

    def _nearest(self, written: str, known_problems: int = 0) -> str:
        """Return a hint; beyond the first problems none, as looking for one takes its time."""
        if len(self._problems) + known_problems > MOST_HINTS:
            return ""
        return self._photos.hint(written)


def _photos_in(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if is_photo(path)) if place.is_dir() else []


def _find_labels(root: Path) -> Path:
    found = [root / name for name in LABEL_FILES if os.path.lexists(root / name)]
    if len(found) == 1:
        return found[0]
    if found:
        names = " and ".join(path.name for path in found)
        raise DataError(Problem(str(root), f"holds {names}", "name one of them with `data.labels`"))
    tables = sorted(path.name for path in root.iterdir() if path.suffix.lower() in (".csv", ".tsv", ".json"))
    sheets = sorted(path.name for path in root.iterdir() if path.suffix.lower() in SPREADSHEETS)
    hint = ""
    if tables:
        hint = f"name it with `data.labels`; the folder holds {_first(tables)}"
    elif sheets:
        hint = f"export {_first(sheets)} as CSV"
    raise DataError(Problem(str(root / LABEL_FILES[0]), "the table of labels is missing", hint or NO_TABLE))


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_HINTS]) + (
        f" and {len(names) - MOST_HINTS:,} more" * (len(names) > MOST_HINTS)
    )


NO_TABLE = "write one row a photo: image,labels and then a.jpg,cat;dog"
