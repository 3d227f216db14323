"""What nodes have, compared with what the driver has and with what a study needs: rows of a preflight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wsss.pipeline.check import Check
from wsss.pipeline.forecasts.programs import program_checks
from wsss.pipeline.forecasts.shared_memory import shared_memory_check
from wsss.stages.programs.readiness import Needs, look
from wsss.tuning.nodes.looking import Answers

NAMES = {"wsss": "wsss", "code": "wsss's code", "python": "Python", "ray": "Ray", "torch": "torch"}
"""What must be the same everywhere, and what people call it."""


def version_checks(own: dict[str, Any], answers: Answers) -> list[Check]:
    """Compare versions with the driver's `own`; name the nodes that did not answer."""
    hint = "install the same on every node (cluster.yaml does), or submit with `cluster submit`"
    silent = [
        Check("node", "bad", f"{label}: {answer}", hint)
        for label, answer in answers.items()
        if isinstance(answer, str)
    ]
    differ = [
        Check(title, "bad", f"{label} has {found[name]}, the driver {own[name]}", hint)
        for label, found in _found(answers).items()
        for name, title in NAMES.items()
        if found[name] != own[name]
    ]
    if silent or differ:
        return [*silent, *differ]
    text = ", ".join(f"{title} {own[name]}" for name, title in NAMES.items())
    return [Check("versions", "ok", f"{text}{' everywhere' if len(answers) > 1 else ''}")]


def memory_checks(needed: int, nodes: Sequence[dict[str, Any]], answers: Answers) -> list[Check]:
    """Compare the bytes that a trial needs of /dev/shm with what each node that has a GPU found there."""
    gpus = {node["NodeManagerAddress"] for node in nodes if node["Resources"].get("GPU")}
    return [
        check
        for label, found in _found(answers).items()
        if label.partition(" ")[0] in gpus
        for check in shared_memory_check(needed, found.get("shared_memory"), label)
    ]


def folder_checks(storage: Path, content: str, answers: Answers) -> list[Check]:
    """Check that every node read the driver's marker, whose `content` is given, and that the driver sees
    theirs."""
    hint = "give --storage FOLDER on a file system that every node has mounted there"
    checks = []
    for label, found in _found(answers).items():
        wrong = ""
        if found["marker"] != content:
            wrong = f"{label} doesn't see what the driver wrote to {storage}"
        elif found.get("refused"):
            wrong = f"{label} can't write to {storage}: {found['refused']}"
        elif not found["back"]:
            wrong = f"what {label} wrote to {storage} can't be seen here"
        if wrong:
            checks.append(Check("storage", "bad", wrong, hint))
    if not checks and len(answers) > 1:
        checks.append(Check("storage", "ok", f"every node reads and writes {storage}"))
    return checks


def object_checks(uri: str, answers: Answers) -> list[Check]:
    """Check that every node could write to an object storage and read from it."""
    hint = "every node needs the network and the keys to reach it"
    refused = [
        Check("storage", "bad", f"{label}: {found['refused']}", hint)
        for label, found in _found(answers).items()
        if found.get("refused")
    ]
    return refused or [Check("storage", "ok", f"every node reads and writes {uri}")]


def file_checks(own: dict[str, Any], files: Sequence[Path], answers: Answers) -> list[Check]:
    """Compare the digests of files of the data set with the driver's `own`."""
    hint = "put the same data set at the same path on every node"
    checks = []
    for label, found in _found(answers).items():
        pairs = list(zip(files, own["files"], found["files"], strict=True))
        missing = [file for file, _, theirs in pairs if theirs is None]
        other = [file for file, ours, theirs in pairs if theirs is not None and theirs != ours]
        wrong = missing or other
        if wrong:
            what = "lacks" if missing else "has another"
            more = f" and {len(wrong) - 1} more" if wrong[1:] else ""
            checks.append(Check("data", "bad", f"{label} {what} {wrong[0]}{more}", hint))
    if not checks and files and len(answers) > 1:
        checks.append(Check("data", "ok", f"every node has the same {len(files)} files looked at"))
    return checks


def foreign_checks(programs: Mapping[str, Needs], answers: Answers) -> list[Check]:
    """Compare the foreign programs of every node that answered with the driver's code."""
    own = [look(replace(one, python="", conda="", words=()), start=False) for one in programs.values()]
    found = {label: one["programs"] for label, one in _found(answers).items()}
    return program_checks(programs, found, own) if found else []


def _found(answers: Answers) -> dict[str, dict[str, Any]]:
    """Return what the nodes found that answered."""
    return {label: answer for label, answer in answers.items() if not isinstance(answer, str)}
