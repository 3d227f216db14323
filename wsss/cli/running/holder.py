"""What `run` and `resume` say of a study that another process runs: which one, and how to follow it."""

from __future__ import annotations

import dataclasses
import json
import shlex
from typing import TYPE_CHECKING

from wsss.addresses import shown

if TYPE_CHECKING:
    from wsss.config import Study
    from wsss.pipeline.running import Holder

DASHBOARD = "http://localhost:8265"
"""Where `ray dashboard cluster.yaml` shows a cluster's dashboard."""


def say_who_runs_it(
    study: Study, holder: Holder | None, uri: str, as_json: bool, *, overtaken: bool = False
) -> None:
    """Print who runs a study, and the commands that show how far it is.

    `overtaken`: the other run took over from this one, which gave no sign of life for too long.
    """
    commands = ways_to_follow(study, holder, uri)
    if as_json:
        result = {
            "study": study.name,
            "storage": str(study.storage),
            "tracking": shown(uri),
            "running": None if holder is None else dataclasses.asdict(holder),
            "overtaken": overtaken,
            "follow": commands,
        }
        print(json.dumps(result, indent=1))
        return
    if holder is None:
        print(f"This run of {study.name} has lost its lease: the storage was moved, or another run was here.")
    elif overtaken:
        print(f"This run of {study.name} was frozen, and another one has taken over: {holder}.")
    else:
        print(f"{study.name} is run already, by {holder}. Nothing was started here.")
    print("To follow it:")
    for command in commands:
        print(f"  {command}")
    print(f"If it ends before the study does, `resume {study.name}` goes on.")


def ways_to_follow(study: Study, holder: Holder | None, uri: str) -> list[str]:
    """Return commands that show what is left of a study, its results so far, its curves and its log."""
    words = [study.name, "--storage", str(study.storage)]
    commands = [shlex.join(["wsss", verb, *words]) for verb in ("plan", "compare")]
    if uri.startswith("sqlite"):
        commands.append(shlex.join(["wsss", "mlflow", *words]))
    if holder is not None and holder.job:
        commands.append(shlex.join(["ray", "job", "logs", holder.job, "--address", DASHBOARD, "--follow"]))
    return commands
