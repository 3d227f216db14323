"""`doctor`: is this machine ready?"""

from __future__ import annotations

import json
import sys

from rich.console import Console
from rich.table import Table

from wsss.cli.options import JsonOption, StorageOption
from wsss.launch.finding import storage_location

MARKS = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "bad": "[red]bad[/]"}


def doctor(storage: StorageOption = None, as_json: JsonOption = False) -> None:
    """Check what wsss needs of this machine; exit with 3 if something is missing.

    python launch.py doctor
    """
    from wsss.cli.machines.checkup import examine

    findings = examine(storage_location(storage))
    if as_json:
        print(json.dumps([{"what": w, "state": s, "detail": d} for w, s, d in findings], indent=1))
    else:
        table = Table(show_header=False)
        for what, state, detail in findings:
            table.add_row(MARKS[state], what, detail)
        Console().print(table)
    if any(state == "bad" for _, state, _ in findings):
        sys.exit(3)
