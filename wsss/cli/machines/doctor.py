"""`doctor`: is this machine ready?"""

from __future__ import annotations

import json
import sys
from typing import Annotated

from rich.table import Table
from rich.text import Text
from typer import Option

from wsss.cli.console import out
from wsss.cli.options import JsonOption, StorageOption
from wsss.launch.finding import storage_location

COLOURS = {"ok": "green", "note": "yellow", "bad": "red"}


GpuOption = Annotated[
    bool,
    Option("--gpu", help="Also measure, for a minute, how fast networks learn here, and what limits that."),
]


def doctor(storage: StorageOption = None, as_json: JsonOption = False, gpu: GpuOption = False) -> None:
    """Check what wsss needs of this machine; exit with 3 if something is missing.

    With --gpu it also trains small networks on drawn photos and says what will limit a study: the network, or
    the CPUs that read photos for it. Without a GPU the same is measured on the CPU.

    python launch.py doctor
    """
    from wsss.cli.machines.checkup import examine, examine_speed

    findings = examine(storage_location(storage))
    if gpu:
        findings += examine_speed(lambda step: print(f"measuring: {step}", file=sys.stderr))
    if as_json:
        print(json.dumps([{"what": w, "state": s, "detail": d} for w, s, d in findings], indent=1))
    else:
        table = Table(show_header=False)
        for what, state, detail in findings:
            table.add_row(Text(state, COLOURS[state]), what, detail)
        out().print(table)
    if any(state == "bad" for _, state, _ in findings):
        sys.exit(3)
