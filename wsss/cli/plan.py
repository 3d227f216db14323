"""`plan STUDY`: what a run would do and cost, without doing any of it."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsss.cli.console import out, print_table
from wsss.cli.options import JsonOption, NameOption, SetOption, SmokeOption, StorageOption, StudyArgument
from wsss.launch.finding import find, open_study_data
from wsss.launch.words import checks_table, duration

if TYPE_CHECKING:
    from wsss.config import Study
    from wsss.pipeline.forecasts.forecast import Total

PlanAddressOption = Annotated[
    str | None,
    typer.Option("--address", help="Ray cluster to look at (default: RAY_ADDRESS, else none)."),
]
HEADINGS = ("sweep", "arm", "stage", "trials", "make", "have", "each", "in all", "GPU-h", "disk")
NAMES = 3
"""Columns that name a row."""


def plan(
    study: StudyArgument,
    set_: SetOption = None,
    smoke: SmokeOption = False,
    address: PlanAddressOption = None,
    storage: StorageOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a study's trials, what is in the storage already, and what the rest would take; start nothing.

    Nothing is written; in a storage that exists, only which images were looked at already.
    Times and sizes are those of artefacts alike that were made on this storage before. A ~ says that there
    are none: it is a rough estimate from other work of the same stage, as of `run --smoke`, or from another
    machine; a ? that nothing is known. Without the data, trials are counted. Storage, disk and tracking are
    looked at; with --address or RAY_ADDRESS, every node of that cluster too. Exit with 3 if the study can't
    run there.

    python launch.py plan tune_configs/quickstart.yaml
    """
    import tempfile

    from wsss.config.text.location import check_cluster_address

    check_cluster_address(address)
    found = find(study, set_, storage, name, smoke)
    if address or os.environ.get("RAY_ADDRESS"):
        from wsss.tuning.joining.reaching import check_named

        check_named(address)
    with tempfile.TemporaryDirectory(prefix="wsss-plan-", ignore_cleanup_errors=True) as folder:
        bad = _look(found, address or os.environ.get("RAY_ADDRESS"), Path(folder), as_json)
    if bad:
        sys.exit(3)


def _look(found: Study, address: str | None, aside: Path, as_json: bool) -> bool:
    """Print a study's plan, and return whether the study can't run.

    Args:
        found: the study.
        address: of a cluster to look at.
        aside: an empty folder for what has to be made to look at the data, while there is no storage.
        as_json: for a program to read.
    """
    # After the study file was read: what is wrong with it is said without waiting for torch.
    from wsss.errors import DataError
    from wsss.launch.preflight import preflight_checks, study_checks
    from wsss.pipeline.forecasts.forecast import budget_rows, forecast, totals
    from wsss.pipeline.forecasts.programs import local_programs
    from wsss.pipeline.search.budget import spent_so_far
    from wsss.store.storage import open_storage
    from wsss.tracking.location import tracking_uri

    kept = open_storage(found.storage)
    try:
        data = open_study_data(found, quiet=as_json, folder=kept.local if kept.local.is_dir() else aside)
    except DataError:
        _count(found, as_json)
        raise
    store = kept.store
    rows = forecast(found, data, store, rough=True)
    total = totals(rows)
    budget = budget_rows(found.budget, spent_so_far(found, store), total)
    checks = study_checks(found, data)
    # What is estimated roughly decides nothing: `run` doesn't see it either.
    uri = tracking_uri(found.tracking.uri, found.storage)
    checks += preflight_checks(found, data, uri, rough=total)
    if address:
        from wsss.cli.machines.cluster import look_at_nodes

        checks += look_at_nodes(found, data, address)
    else:
        checks += local_programs(found, start=False)
    bad = any(check.state == "bad" for check in checks)
    if as_json:
        sizes = {part: len(getattr(data, part)) for part in ("train", "holdout", "select", "report", "test")}
        result = {"study": found.name, "images": sizes, "sweeps": rows, "totals": dataclasses.asdict(total)}
        result |= {"budget": budget, "checks": [dataclasses.asdict(check) for check in checks]}
        print(json.dumps(result, indent=1))
        return bad
    _print_rows(f"{found.name}: {len(data.train)} training images", rows)
    _say_totals(total, rows, gpus=any(sweep.resources.gpu for sweep in found.sweeps))
    _say_budget(budget, rough=any(row["rough"] for row in rows))
    out().print(checks_table(checks))
    return bad


def _count(study: Study, as_json: bool) -> None:
    """Print how many trials a study's file leads to, for a study whose data can't be opened."""
    from wsss.pipeline.forecasts.counts import planned

    found = planned(study)
    total = sum(one.trials for one in found)
    if as_json:
        counts = [dataclasses.asdict(one) for one in found]
        print(json.dumps({"study": study.name, "images": None, "trials": total, "counts": counts}, indent=1))
        return
    header = ["sweep", "arm", "configurations", "trials", "stages"]
    lines = [
        [one.sweep, one.arm, str(one.configurations), str(one.trials), ", ".join(one.stages)] for one in found
    ]
    print_table(f"{study.name}: {total} trials, as its file says", header, lines, names=2, left=(4,))
    print("Times, sizes and what the storage has are unknown without the data.", flush=True)


def _print_rows(title: str, rows: list[dict[str, Any]]) -> None:
    lines: list[list[str]] = []
    before: list[str] = []
    for row in rows:
        cells = _cells(row)
        # A sweep and an arm are named once, above their stages.
        same = 2 if cells[:2] == before[:2] else 1 if cells[:1] == before[:1] else 0
        lines.append([*[""] * same, *cells[same:NAMES], *([""] if same == 2 else cells[NAMES:4]), *cells[4:]])
        before = cells
    gpu = HEADINGS.index("GPU-h")
    kept = [n for n in range(len(HEADINGS)) if n != gpu or any(line[n] for line in lines)]
    header, lines = [HEADINGS[n] for n in kept], [[line[n] for n in kept] for line in lines]
    first = [header.index(heading) for heading in ("trials", "make", "have", "in all")]
    others = [[n] for n in reversed(range(NAMES, len(header))) if n not in first]
    out_of_room = print_table(title, header, lines, names=NAMES, groups=[first, *others], several=False)
    if out_of_room:
        print(f"Left out for want of room: {', '.join(out_of_room)}. A wider terminal shows them.")


def _cells(row: dict[str, Any]) -> list[str]:
    from wsss.pipeline.forecasts.preflight import gibibytes

    todo, about = row["to_make"], "~" if row["rough"] else ""
    costs = ["", "", "", ""]
    if todo:
        costs = [
            "?" if row["each"] is None else about + duration(row["each"]),
            "?" if row["seconds"] is None else about + duration(row["seconds"]),
            "?" if row["gpu_hours"] is None else f"{row['gpu_hours']:.2f}" if row["gpu_hours"] else "",
            "?" if row["bytes"] is None else gibibytes(row["bytes"]),
        ]
    return [
        row["sweep"],
        row["arm"],
        row["stage"],
        str(row["trials"]),
        str(todo),
        str(row["in_storage"]),
        *costs,
    ]


def _say_totals(total: Total, rows: list[dict[str, Any]], *, gpus: bool) -> None:
    from wsss.pipeline.forecasts.preflight import gibibytes

    if not total.trials:
        print("Nothing is left to do.")
        return
    more = " + what is unknown" if total.unknown_time else ""
    about = "~" if any(row["rough"] for row in rows) else ""
    time = "unknown" if total.seconds is None else f"{about}{duration(total.seconds)}{more}"
    print(f"Work left: {total.trials} trials, {time} on one trial at a time")
    if total.gpu_hours:
        kinds = ", ".join(f"{kind} {hours:.2f}" for kind, hours in total.accelerators.items())
        apart = f" ({kinds})" if kinds else ""
        print(f"GPU hours: {total.gpu_hours:.2f}{apart}{more}")
    more = " + what is unknown" if total.unknown_bytes else ""
    print(f"Disk:      {'unknown' if total.bytes is None else f'{gibibytes(total.bytes)}{more}'}")
    devices = sorted({device for row in rows for device in row["measured_on"]})
    if devices:
        print(f"Measured on {', '.join(devices)}.")
    if any(row["rough"] for row in rows):
        print("~ is rough: from other work of that stage, scaled. What runs here tells better.")
    if total.unknown_time or total.unknown_bytes:
        but = ", but is too short to time a GPU" if gpus else ""
        print(f"? is work of which nothing is known. `run --smoke` tries it{but}.")


def _say_budget(rows: list[dict[str, Any]], *, rough: bool) -> None:
    from wsss.pipeline.search.budget import NAMES

    words = {True: "enough", False: "NOT ENOUGH: the study will stop before its end", None: "unknown"}
    for row in rows:
        left = "unknown" if row["left"] is None else f"{row['left']:.3g}"
        amounts = f"{row['used']:.3g} used + {left} left of {row['limit']:g} {NAMES[row['budget']]}"
        print(f"Budget:    {amounts}: {words[row['enough']]}{', roughly' * rough}")
