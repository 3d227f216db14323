"""`storage ls`, `storage prune` and `storage archive`."""

from __future__ import annotations

import json
import shlex
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from wsss.cli.console import out
from wsss.cli.options import JsonOption, StorageOption
from wsss.launch.finding import storage_location
from wsss.pipeline.forecasts.preflight import gibibytes

if TYPE_CHECKING:
    from wsss.store.storage import Storage

app = typer.Typer(help="See and tidy what studies leave behind.", no_args_is_help=True)


@app.command("ls")
def list_(storage: StorageOption = None, as_json: JsonOption = False) -> None:
    """List the artefacts of a storage: stage, size, time it took, and the studies that use it.

    python launch.py storage ls --storage runs
    """
    place = _opened(storage)
    users: dict[str, set[str]] = defaultdict(set)
    for name in place.study_names():
        for trial in place.ledger(name).trials().values():
            for key in trial.keys.values():
                users[key].add(name)
    entries = [
        {
            "key": artefact.key,
            "stage": artefact.stage,
            "bytes": place.store.left(artefact.key) or 0,
            "evicted": artefact.evicted,
            "seconds": artefact.record["seconds"],
            "studies": sorted(users[artefact.key]),
        }
        for artefact in place.store
    ]
    if as_json:
        print(json.dumps(entries, indent=1))
        return
    table = Table(caption=f"{len(entries)} artefacts, {gibibytes(sum(int(e['bytes']) for e in entries))}")
    for name in ("key", "stage", "size", "seconds", "studies"):
        table.add_column(name, justify="right" if name in ("size", "seconds") else "left")
    for entry in entries:
        size = "evicted" if entry["evicted"] else gibibytes(int(entry["bytes"]))
        names = ", ".join(entry["studies"]) or "none"
        table.add_row(entry["key"][:12], entry["stage"], size, f"{entry['seconds']:.1f}", names)
    out().print(table)


def _opened(storage: str | None) -> Storage:
    """Open the storage to look at. A folder that is not there is an error, and not made."""
    from wsss.errors import ConfigError, Problem
    from wsss.store.storage import open_storage

    location = storage_location(storage)
    if storage is not None and isinstance(location, Path) and not location.is_dir():
        raise ConfigError(Problem("--storage", f"is {location}, but there is no such folder"))
    return open_storage(location)


@app.command("prune")
def prune(
    storage: StorageOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, delete nothing.")] = False,
) -> None:
    """Delete what can be made again: files of trials that were not kept, half-made and damaged artefacts.

    Records, scores, ledgers and whatever a kept trial or a running study needs stay. Of an object storage,
    this machine's copies go too.

    python launch.py storage prune --dry-run
    """
    from wsss.pipeline.past.retention import prune as prune_storage

    freed = prune_storage(_opened(storage), dry_run=dry_run)
    for what, size in freed.items():
        print(f"{gibibytes(size):>10}  {what}")
    print(f"{gibibytes(sum(freed.values())):>10}  {'would be freed' if dry_run else 'freed'}")


@app.command("archive")
def archive(
    studies: Annotated[list[str] | None, typer.Argument(help="All of the storage without any.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="A new file, .tar.xz.")] = Path("runs.tar.xz"),
    curves: Annotated[
        bool,
        typer.Option(
            help="Keep each image's counts at every threshold: most of the size, and no score needs them."
        ),
    ] = True,
    storage: StorageOption = None,
) -> None:
    """Pack studies with their scores, without pictures and weights: small enough to keep beside a paper.

    Unpacked, it is a storage that `compare` and `report` read.

    python launch.py storage archive quickstart -o quickstart.tar.xz
    """
    from wsss.launch.finding import find_all
    from wsss.pipeline.past.archive import write_archive
    from wsss.store.storage import open_storage

    if not studies:
        _opened(storage)
    location, names = find_all(studies or (), storage)
    size = write_archive(open_storage(location), names, out, curves=curves)
    # Into a folder of its own: what is packed is named `runs` like the default storage, and has less in it.
    folder = out.name.removesuffix(".tar.xz")
    unpack = shlex.join(["mkdir", folder]) + " && " + shlex.join(["tar", "xf", str(out), "-C", folder])
    read = shlex.join(["compare", "--storage", f"{folder}/runs"])
    print(f"{out}: {size / 2**20:.2f} MiB. To read it: {unpack}, then `{read}`")
