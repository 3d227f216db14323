"""The list of VOC's augmented training set."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from wsss.data.fetching.download import fetch_text
from wsss.data.fetching.fetch import FETCHES, Bars, Fetch, Source, first_that_works, id_digest, with_address
from wsss.data.fetching.voc2012 import LISTS, Voc2012, devkit_in
from wsss.data.tables.text import read_lines
from wsss.errors import DataError, Problem
from wsss.files import write_atomic

VOC_ID = re.compile(r"(\d{4})_?(\d{6})(?!\d)")
LONGEST_LIST = 4_000_000
PLACE = "https://raw.githubusercontent.com"


@FETCHES.register
class SbdList(Fetch):
    name = "sbd-list"
    about = "10,582 ids: VOC's training images and SBD's (Hariharan et al., 2011), none of VOC's val"
    after = (Voc2012.name,)
    ids: ClassVar[Source] = Source(
        "sbd-list",
        (
            f"{PLACE}/Platygator/irn/eed93d5aabcc951b24e56fa7c12f5dbd111943d3/voc12/train_aug.txt",
            f"{PLACE}/chendudai/CLIMS/050d608b08216ad959a1374b49ed1b960bef17e0/voc12/train_aug.txt",
        ),
        count=10_582,
        sha256="d1326bd532648d73bc4b1bd275434eba81930982dc7401a65a8cecb26c028e24",
    )

    @classmethod
    def run(cls, folder: Path, address: str | None, bars: Bars) -> Path | None:
        return fetch_list(with_address(cls.ids, address), folder)


def fetch_list(source: Source, folder: Path) -> Path:
    """Write a list of ids to the devkit's train_aug.txt, after its content was verified.

    Raises `DataError` when there is no devkit, when the ids are others than they should be, or when
    some of them are validation images; `PreflightError` when network or server fail.
    """
    devkit = devkit_in(folder)
    if not (devkit / LISTS).is_dir():
        hint = f"fetch it first: --what {Voc2012.name} --what {source.name}"
        raise DataError(Problem(str(devkit), "there is no VOC devkit for the list", hint))
    val = devkit / LISTS / "val.txt"
    held_out = set(read_lines(val)) if val.is_file() else set()
    path = devkit / LISTS / "train_aug.txt"

    def get(url: str) -> None:
        ids = read_ids(fetch_text(url, LONGEST_LIST))
        problems = list_problems(url, ids, source, held_out)
        if problems:
            raise DataError(problems)
        write_atomic(path, "".join(f"{id}\n" for id in sorted(ids)))

    first_that_works(source.urls, get)
    return path


def read_ids(text: str) -> list[str]:
    """Return VOC ids, one a line, whether they come bare, in paths, or without their underscore."""
    found = [VOC_ID.search(line) for line in text.splitlines() if line.strip()]
    return [f"{match[1]}_{match[2]}" if match else "" for match in found]


def list_problems(url: str, ids: Sequence[str], source: Source, held_out: set[str]) -> list[Problem]:
    """Return in which ways a list of ids is not what it should be.

    Args:
        url: where the list is from, for messages.
        ids: as it has them.
        source: how many there should be, and their digest.
        held_out: ids that must not be among them.
    """
    problems = []
    if len(ids) != source.count or len(set(ids)) != source.count or "" in ids:
        message = (
            f"lists {len(set(ids) - {''})} different ids in {len(ids)} lines, but must list {source.count}"
        )
        problems.append(Problem(url, message))
    elif id_digest(ids) != source.sha256:
        problems.append(Problem(url, "lists other ids than it should"))
    shared = sorted(held_out.intersection(ids))
    if shared:
        message = f"lists {len(shared)} images of val.txt, {shared[0]} for one, but must list none"
        problems.append(Problem(url, message))
    return problems
