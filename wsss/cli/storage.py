"""`storage ls` and `storage prune`."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from wsss.cli.options import JsonOption, StorageOption, storage_path

app = typer.Typer(help="See and tidy what studies leave behind.", no_args_is_help=True)


@app.command("ls")
def list_(storage: StorageOption = None, as_json: JsonOption = False) -> None:
    """List the artefacts of a storage: stage, size, time it took, and the studies that use it.

    python launch.py storage ls --storage runs
    """
    from wsss.pipeline.ledger import Ledger
    from wsss.pipeline.store import Store
    from wsss.pipeline.study import studies_folder

    root = storage_path(storage)
    users: dict[str, set[str]] = defaultdict(set)
    for path in sorted(studies_folder(root).glob("*/ledger.jsonl")):
        for trial in Ledger(path.parent).trials().values():
            for key in trial.keys.values():
                users[key].add(path.parent.name)
    entries = [
        {
            "key": artefact.key,
            "stage": artefact.stage,
            "bytes": 0 if artefact.evicted else artefact.bytes,
            "evicted": artefact.evicted,
            "seconds": artefact.record["seconds"],
            "studies": sorted(users[artefact.key]),
        }
        for artefact in Store(root / "store")
    ]
    if as_json:
        print(json.dumps(entries, indent=1))
        return
    table = Table(caption=f"{len(entries)} artefacts, {_size(sum(int(e['bytes']) for e in entries))}")
    for name in ("key", "stage", "size", "seconds", "studies"):
        table.add_column(name, justify="right" if name in ("size", "seconds") else "left")
    for entry in entries:
        size = "evicted" if entry["evicted"] else _size(int(entry["bytes"]))
        names = ", ".join(entry["studies"]) or "none"
        table.add_row(entry["key"][:12], entry["stage"], size, f"{entry['seconds']:.1f}", names)
    Console().print(table)


@app.command("prune")
def prune(
    storage: StorageOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, delete nothing.")] = False,
) -> None:
    """Delete what can be made again: files of trials that were not kept, half-made and damaged artefacts.

    Records, scores, ledgers and whatever a kept trial needs stay.

    python launch.py storage prune --dry-run
    """
    from wsss.pipeline.retention import prune as prune_storage

    freed = prune_storage(storage_path(storage), dry_run=dry_run)
    for what, size in freed.items():
        print(f"{_size(size):>10}  {what}")
    print(f"{_size(sum(freed.values())):>10}  {'would be freed' if dry_run else 'freed'}")


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
