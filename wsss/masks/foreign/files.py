"""Which file of a folder belongs to which image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from wsss.errors import DataError, Problem, shortened

ARRAYS = (".npy", ".npz", ".pt", ".pth")
ENDINGS = {"cams": ARRAYS, "masks": (".png",), "segmentations": (".png", *ARRAYS)}
MOST_PROBLEMS = 20
Kind = Literal["cams", "masks", "segmentations"]


def foreign_files(folder: Path, ids: Sequence[str], kind: Kind) -> dict[str, Path]:
    """Return each id's file: arrays for CAMs, `<id>.png` for masks, either for segmentations.

    Raises one `DataError` for all ids whose file is missing, ambiguous or outside `folder`.

    Args:
        folder: where the files are.
        ids: of the images, bare file names.
        kind: what the files hold.
    """
    endings = ENDINGS[kind]
    named = [f"<id>{ending}" for ending in endings]
    expected = "expected " + " or ".join(filter(None, (", ".join(named[:-1]), named[-1])))
    try:
        names = {path.name for path in folder.iterdir()}
    except OSError as error:
        problem = Problem(str(folder), f"folder can't be listed: {error.strerror}", expected)
        raise DataError(problem) from error
    files: dict[str, Path] = {}
    problems: list[Problem] = []
    for id in ids:
        paths = [folder / f"{id}{ending}" for ending in endings]
        found = [path for path in paths if path.name in names]
        if paths[0].parent != folder:
            problems.append(Problem(str(folder), f"id is {id!r}, but must be a bare file name"))
        elif len(found) > 1:
            problems.append(Problem(str(found[0]), f"{found[1].name} exists too", "move one of them away"))
        elif not found:
            problems.append(Problem(str(paths[0]), "file is missing", expected))
        else:
            files[id] = found[0]
    if len(problems) > MOST_PROBLEMS:
        problems[MOST_PROBLEMS:] = [Problem(str(folder), f"and {len(problems) - MOST_PROBLEMS} more")]
    strange = sorted(name for name in names if name.endswith(endings) and Path(name).stem not in ids)
    if len(files) < len(ids) and strange:
        message = f"holds {len(strange)} files with other names, such as {shortened(strange[0], 80)}"
        problems.insert(
            0, Problem(str(folder), message, f"names are {' or '.join(named)} of the images' ids")
        )
    if problems and (other := _other_kind(names, endings)):
        hint = f"for {other}, say `import: {{{other}: …}}` instead"
        problems.insert(0, Problem(str(folder), f"holds {'/'.join(ENDINGS[other])} files, no {kind}", hint))
    if problems:
        raise DataError(problems)
    return files


def _other_kind(names: set[str], endings: tuple[str, ...]) -> str:
    """Return what the folder's files could be instead, if none of them has one of the endings."""
    if any(name.endswith(endings) for name in names):
        return ""
    others = [kind for kind, some in ENDINGS.items() if any(name.endswith(some) for name in names)]
    return others[0] if others else ""
