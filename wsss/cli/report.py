"""`report STUDY… -o FILE`: what studies found, as one page to look at and to send."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wsss.cli.options import StorageOption
from wsss.errors import ConfigError, Problem
from wsss.launch.finding import find_all

SUFFIXES = (".html", ".htm")


def report(
    studies: Annotated[
        list[str] | None, typer.Argument(help="Studies, names or files (default: all).")
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="The HTML file to write.")] = Path(
        "report.html"
    ),
    baseline: Annotated[
        str | None, typer.Option("--baseline", help="The arm that others are held against.")
    ] = None,
    storage: StorageOption = None,
) -> None:
    """Write what studies found as one HTML file: scores, photos, curves, the search, how it was made.

    It holds all its pictures and needs no network: open it in any browser, send it, print it.

    python launch.py report quickstart -o quickstart.html
    """
    if output.suffix.lower() not in SUFFIXES:
        raise ConfigError(Problem("-o", f"is {str(output)!r}, but must end in .html"))
    if output.is_dir():
        raise ConfigError(Problem("-o", f"{output} is a folder, but must be a file"))
    from wsss.report.page import write_page

    location, names = find_all(studies or [], storage)
    path = write_page(location, names, output, baseline)
    print(f"wrote {path}; open it in a browser")
