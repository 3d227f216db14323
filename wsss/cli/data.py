"""`data check`, `data sample` and `data fetch`."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from wsss.cli.options import JsonOption
from wsss.launch.finding import checking_bar, warning_lines

if TYPE_CHECKING:
    from wsss.data.photo_set import PhotoSet

app = typer.Typer(help="Look at data, make some, or fetch it.", no_args_is_help=True)


@app.command("check")
def check(
    root: Annotated[Path, typer.Argument(help="A VOC devkit, COCO's folder, or photos with labels.csv.")],
    split: Annotated[list[str] | None, typer.Option("--split", help="Lists to check (default: all).")] = None,
    labels: Annotated[Path | None, typer.Option("--labels", help="Table of labels of a folder.")] = None,
    masks: Annotated[Path | None, typer.Option("--masks", help="Masks of a folder (default: masks).")] = None,
    as_json: JsonOption = False,
) -> None:
    """Report every problem of a data set, with its path; exit with 2 if there is one. What is found here
    stops a study, too; warnings stop neither.

    python launch.py data check /data/VOCdevkit/VOC2012 --split train --split val

    python launch.py data check photos --labels labels.csv
    """
    with tempfile.TemporaryDirectory(prefix="wsss-check-") as cache:
        dataset = _opened(_folder(root), labels, masks, Path(cache))
        found = _check(dataset, split or list(dataset.split_names()), root, as_json)
    if found:
        sys.exit(2)


def _check(dataset: PhotoSet, splits: list[str], root: Path, as_json: bool) -> int:
    """Print what is wrong with a data set; return the number of problems."""
    from wsss.data.check import check_lists
    from wsss.errors import bounded, shortened

    with checking_bar("checking", quiet=as_json) as report:
        found = check_lists(dataset, splits, workers=os.cpu_count() or 1, progress=report)
    problems = found.problems
    if as_json:
        kinds = {"problems": problems, "warnings": found.warnings}
        rows = {kind: [dataclasses.asdict(problem) for problem in some] for kind, some in kinds.items()}
        print(json.dumps({"root": str(root), "splits": splits, **rows}, indent=1))
    else:
        lines, more = bounded(problems)
        print("".join(f"{line}\n" for line in lines), end="")
        if more:
            print(f"… and {more:,} more problems: `--json` has them all")
        for line in warning_lines(found.warnings):
            print(line)
        images = {id for name in splits for id in _ids(dataset, name)}
        count = f"{len(problems)} problem{'s' * (len(problems) != 1)}"
        print(f"{count} in {len(images)} images of {shortened(', '.join(splits), 400)}")
        if not problems:
            print(_summary(dataset, sorted(images)))
    return len(problems)


@app.command("sample")
def sample(
    folder: Annotated[Path, typer.Argument(help="Where to write the sample set.")],
    train: Annotated[int, typer.Option(min=1, help="Training images.")] = 160,
    val: Annotated[int, typer.Option(min=1, help="Validation images.")] = 80,
    size: Annotated[int, typer.Option(min=64, help="Width and height in pixels.")] = 128,
    seed: Annotated[int, typer.Option(help="Another seed draws other pictures.")] = 0,
) -> None:
    """Write the embedded sample set as a VOC devkit folder.

    python launch.py data sample /tmp/sample
    """
    from wsss.data.sample.data_set import write_sample

    write_sample(_folder(folder), train=train, val=val, size=size, seed=seed)
    print(f"{train} + {val} images in {folder}")


@app.command("fetch")
def fetch(
    places: Annotated[list[str], typer.Argument(help="What to fetch, and the folder to put it into.")],
    what: Annotated[list[str] | None, typer.Option("--what", help="What to fetch, likewise.")] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="URL", help="Another address, or that of a folder of archives."),
    ] = None,
) -> None:
    """Download a data set: voc2012 (2 GB; unless you say otherwise), sbd-list (its augmented training list),
    coco2014 (20 GB) or pets (cats and dogs, 0.8 GB); nothing else ever is.

    Checked by checksum; a download that broke off goes on where it was. Without a folder it goes to data/.

    python launch.py data fetch pets

    python launch.py data fetch /data --what voc2012 --what sbd-list
    """
    from wsss.addresses import refusal
    from wsss.data.fetching.fetch import FETCHES, Bars
    from wsss.errors import ConfigError, Problem, nearest, quoted

    known = FETCHES.names()
    folders = [place for place in places if place not in known]
    wanted = list(dict.fromkeys([*(place for place in places if place in known), *(what or [])])) or [
        "voc2012"
    ]
    problems = [
        Problem("--what", f"is {name!r}", nearest(name, known)) for name in wanted if name not in known
    ]
    if len(folders) > 1:
        message = f"are {quoted(folders)}, but must be one folder, and what to fetch"
        problems.append(Problem("arguments", message, nearest(folders[0], known)))
    if from_ and (refused := refusal(from_, instead="give an address that needs none")):
        problems.append(Problem("--from", *refused))
    elif from_ is not None and not _is_web_address(from_):
        message = f"is {quoted(from_)}, but must be an address that begins with http:// or https://"
        problems.append(Problem("--from", message))
    if from_ and len(wanted) > 1:
        problems.append(Problem("--from", "is the address of one thing", "give one `--what`"))
    if problems:
        raise ConfigError(problems)
    folder = _folder(Path(folders[0] if folders else "data"))
    for name in sorted(wanted, key=lambda name: bool(FETCHES[name].after)):
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(
            *columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True
        ) as progress:
            bars = Bars(*(_reporter(progress, title) for title in ("downloading", "unpacking")))
            made = FETCHES[name].run(folder, from_, bars)
        print(f"{name}: {made}" if made else f"{name}: was there already")


def _folder(given: Path) -> Path:
    """Return the folder of an argument, absolute. Raises `ConfigError` for a path that can't be."""
    from wsss.addresses import refusal
    from wsss.config.text.paths import absolute
    from wsss.errors import ConfigError, Problem

    if refused := refusal(str(given), instead="name a folder"):
        raise ConfigError(Problem("the folder", *refused))
    try:
        return absolute(given)
    except ValueError as error:
        raise ConfigError(Problem("the folder", str(error))) from error


def _is_web_address(text: str) -> bool:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # no host or port can read like this
        return False


def _reporter(progress: Progress, title: str) -> Callable[[int, int], None]:
    task: list[TaskID] = []

    def report(done: int, total: int) -> None:
        if not task:
            task.append(progress.add_task(title, total=total))
        progress.update(task[0], completed=done, total=total)

    return report


def _opened(root: Path, labels: Path | None, masks: Path | None, cache: Path) -> PhotoSet:
    """Return the data set that a folder is: of the kind that recognises it, else a folder of photos."""
    from wsss.config import DataSpec
    from wsss.config.data_set import DATA_SETS
    from wsss.data.photo_set import PhotoSet
    from wsss.errors import ConfigError, Problem

    kind = next((kind for kind in DATA_SETS.values() if kind.recognises(root)), DATA_SETS["folder"])
    options = {"labels": labels, "masks": masks}
    foreign = [name for name, value in options.items() if value is not None and name not in kind.keys]
    if foreign:
        message = f"is for folders of photos, but {root} is {kind.described}, which has its own"
        raise ConfigError(Problem(f"--{name}", message) for name in foreign)
    try:
        spec = DataSpec(dataset=kind.name, root=root, labels=labels, masks=masks).resolved(Path.cwd())
    except ValueError as error:  # pydantic's is one
        given = f"--labels {labels}" if labels else str(root)
        raise ConfigError(Problem(given, "no file can have a path like this")) from error
    found = kind.open(spec, cache)
    assert isinstance(found, PhotoSet)
    return found


def _ids(dataset: PhotoSet, split: str) -> tuple[str, ...]:
    from wsss.errors import DataError

    try:
        return dataset.split(split)
    except DataError:
        return ()  # among the problems already


def _summary(dataset: PhotoSet, ids: list[str]) -> str:
    counts = dataset.labels(ids).sum(axis=0).tolist()
    classes = ", ".join(f"{name} {count}" for name, count in zip(dataset.classes, counts, strict=True))
    masks = sum(dataset.has_mask(id) and dataset.mask_path(id).is_file() for id in ids)
    return f"images that show each class: {classes}\nimages with masks: {masks}"
