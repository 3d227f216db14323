"""Preflight of a storage folder and its disk, and what a study says of GPUs that its trials share."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wsss.files import nearest_folder
from wsss.pipeline.check import Check

MINIMUM_FREE = 1024**3
JOB_FOLDER = re.compile(r"/session_[^/]*/runtime_resources/")


@dataclass(frozen=True)
class Rough:
    """A rough estimate of the bytes that a study will write, which refuses nothing; `whole` unless there is
    work of which nothing is known."""

    bytes: float
    whole: bool = True


def goes_with_the_job(path: Path) -> bool:
    """Whether a path is in the copy of the working folder that Ray makes for a job and deletes with it."""
    return JOB_FOLDER.search(f"{path}/") is not None


def storage_checks(
    storage: Path, needed: float | None, *, complete: bool = True, rough: Rough | None = None
) -> list[Check]:
    """Check a storage folder: can it be written, and is there room?

    Args:
        storage: the folder, which need not exist yet.
        needed: the estimated bytes that the study will write; None without an estimate.
        complete: whether the estimate covers everything.
        rough: a rough estimate; None without one.
    """
    if goes_with_the_job(storage):
        hint = "give --storage FOLDER on a file system that every node shares"
        return [Check("storage", "bad", f"{storage} is deleted when the job ends", hint)]
    parent = nearest_folder(storage)
    if not parent.is_dir():
        return [Check("storage", "bad", f"{parent} is no folder", "give --storage FOLDER")]
    if not os.access(parent, os.W_OK):
        return [Check("storage", "bad", f"{storage} can't be written", "give --storage FOLDER")]
    return [
        Check("storage", "ok", str(storage)),
        disk_check(shutil.disk_usage(parent).free, needed, complete=complete, rough=rough),
    ]


def disk_check(
    free: int, needed: float | None, *, complete: bool = True, rough: Rough | None = None
) -> Check:
    """Compare the free bytes with the estimate, and with the least that any study needs.

    Args:
        free: bytes.
        needed: the estimated bytes that the study will write; None without an estimate.
        complete: whether the estimate covers everything.
        rough: a rough estimate, told where the other covers less; None without one.
    """
    have = f"{gibibytes(free)} are free"
    hint = "give --storage FOLDER, or `storage prune`"
    if free < MINIMUM_FREE:
        return Check("disk", "bad", f"{have}, but a study needs at least 1 GiB", hint)
    if rough is not None and (needed is None or (not complete and free >= needed)):
        about = (
            f"the study needs roughly {gibibytes(rough.bytes)}{'' if rough.whole else ' + what is unknown'}"
        )
        if free < rough.bytes:
            return Check("disk", "note", f"{have}, but {about}", hint)
        return Check("disk", "ok", f"{have}, {about}")
    if needed is None:
        return Check("disk", "note", f"{have}; how much the study needs is unknown: nothing like it was run")
    wanted = f"{'' if complete else 'at least '}{gibibytes(needed)}"
    if free < needed:
        return Check("disk", "bad", f"{have}, but the study is estimated to need {wanted}", hint)
    return Check("disk", "ok", f"{have}, the study is estimated to need {wanted}")


def gibibytes(count: float) -> str:
    """Return a number of bytes for people, such as "1.5 GiB"."""
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def sharing_check(shares: Sequence[float]) -> list[Check]:
    """Say how many trials share a GPU and how much memory each may take, one row per share."""
    return [
        Check(
            "GPU sharing",
            "note",
            f"with gpu: {share:g}, {int(1 / share + 1e-6)} trials share a GPU, "
            f"each may take {share:.0%} of its memory, less half a GiB for CUDA itself",
        )
        for share in sorted({share for share in shares if 0 < share < 1})
    ]
