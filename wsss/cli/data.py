"""`data check` and `data sample`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from wsss.cli.options import JsonOption

app = typer.Typer(help="Look at data, or make some.", no_args_is_help=True)


@app.command("check")
def check(
    root: Annotated[Path, typer.Argument(help="A VOC devkit folder (it holds JPEGImages and the like).")],
    split: Annotated[list[str] | None, typer.Option("--split", help="Lists to check (default: all).")] = None,
    as_json: JsonOption = False,
) -> None:
    """Report every problem of a data set, with its path; exit with 2 if there is one.

    python launch.py data check /data/VOCdevkit/VOC2012 --split train --split val
    """
    from wsss.data.check import check_dataset
    from wsss.data.voc import VocDataset

    dataset = VocDataset(root.resolve())
    splits = split or list(dataset.split_names())
    console = Console(stderr=True, quiet=as_json)
    columns = (TextColumn("checking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("check", total=None)

        def report(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        problems = check_dataset(dataset, splits, workers=os.cpu_count() or 1, progress=report)
    if as_json:
        found = [{"where": p.where, "message": p.message, "hint": p.hint} for p in problems]
        print(json.dumps({"root": str(root), "splits": splits, "problems": found}, indent=1))
    else:
        for problem in problems:
            print(problem)
        images = len({id for name in splits for id in dataset.split(name)})
        print(f"{len(problems)} problems in {images} images of {', '.join(splits)}")
    if problems:
        sys.exit(2)


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
    from wsss.data.sample import write_sample

    write_sample(folder.resolve(), train=train, val=val, size=size, seed=seed)
    print(f"{train} + {val} images in {folder}")
