"""`plan STUDY`: what a run would do, without doing any of it."""

from __future__ import annotations

import json
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from wsss.cli.live import duration
from wsss.cli.options import (
    JsonOption,
    NameOption,
    SetOption,
    SmokeOption,
    StorageOption,
    StudyArgument,
    find,
    open_study_data,
)


def plan(
    study: StudyArgument,
    set_: SetOption = None,
    smoke: SmokeOption = False,
    storage: StorageOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a study's trials, what is in the storage already and what is left; start nothing.

    python launch.py plan tune_configs/quickstart.yaml
    """
    from wsss.pipeline.forecast import forecast
    from wsss.pipeline.storage import open_storage

    found = find(study, set_, storage, name, smoke)
    data = open_study_data(found, quiet=as_json)
    rows = forecast(found, data, open_storage(found.storage).store)
    if as_json:
        sizes = {part: len(getattr(data, part)) for part in ("train", "holdout", "select", "report", "test")}
        print(json.dumps({"study": found.name, "images": sizes, "sweeps": rows}, indent=1))
        return
    title = f"{found.name}: {len(data.train)} training images"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("sweep", "arm", "trials", "stage", "make", "have", "each", "in all"):
        words = heading in ("sweep", "arm", "stage")
        # Only names of arms are long.
        table.add_column(heading, justify="left" if words else "right", no_wrap=heading != "arm")
    before: list[str] = []
    for row in rows:
        cells = _cells(row)
        # A sweep and an arm are named once, above their stages.
        same = 3 if cells[:3] == before[:3] else 1 if cells[:1] == before[:1] else 0
        table.add_row(*([""] * same + cells[same:]))
        before = cells
    console = Console()
    (console if console.is_terminal else Console(width=120)).print(table)
    known = [row["seconds"] for row in rows if row["seconds"] is not None]
    unknown = any(row["seconds"] is None and row["to_make"] for row in rows)
    total = duration(sum(known)) if known else "nothing measured yet"
    more = " + what was never measured" if unknown and known else ""
    print(f"Work left, on one trial at a time: {total}{more}")


def _cells(row: dict[str, Any]) -> list[str]:
    each = "?" if row["each"] is None else duration(row["each"])
    total = "" if row["seconds"] is None else duration(row["seconds"])
    return [
        row["sweep"],
        row["arm"],
        str(row["trials"]),
        row["stage"],
        str(row["to_make"]),
        str(row["in_storage"]),
        each,
        total,
    ]
