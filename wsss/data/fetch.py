"""`data fetch`: what all that can be fetched has in common, and PASCAL VOC 2012 with its augmented list."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tarfile
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import ClassVar, NamedTuple

from wsss.data.download import Progress, check_disk, download, fetch_text
from wsss.data.readers.voc import FOLDERS
from wsss.data.tables.text import read_lines
from wsss.errors import DataError, Problem, WsssError
from wsss.files import write_atomic
from wsss.plugins import Registry

DEVKIT = Path("VOCdevkit") / "VOC2012"
LISTS = Path("ImageSets") / "Segmentation"
VOC, SBD_LIST = "voc2012", "sbd-list"
VOC_ID = re.compile(r"(\d{4})_?(\d{6})(?!\d)")
LONGEST_LIST = 4_000_000


@dataclass(frozen=True)
class Source:
    """A file that can be fetched. An archive has `bytes`, and `md5` or `sha256`; a list of ids has `count`,
    and `sha256` of the sorted ids with a line end after each, as its layout differs from place to place."""

    name: str
    about: str
    urls: tuple[str, ...]
    bytes: int = 0
    md5: str = ""
    count: int = 0
    sha256: str = ""


class Bars(NamedTuple):
    """What gets (bytes so far, all bytes) of the work that takes its time."""

    downloading: Progress | None = None
    unpacking: Progress | None = None


class Fetch:
    """Something that `data fetch` brings: a data set, or a part of one."""

    name: ClassVar[str]
    about: ClassVar[str]
    """What it is and how large, in a line."""
    after: ClassVar[tuple[str, ...]] = ()
    """What has to be fetched before it."""

    @classmethod
    def run(cls, folder: Path, address: str | None, bars: Bars) -> Path | None:
        """Fetch it into a folder; return where it is, None when it was there already.

        Raises `PreflightError` when network, server or disk fail, and `DataError` for content that is not
        what it should be.

        Args:
            folder: where to.
            address: another place, that of the file or of the folder with all files; None for the usual ones.
            bars: get the progress.
        """
        raise NotImplementedError


FETCHES: Registry[type[Fetch]] = Registry("thing to fetch", "wsss.data.fetching")


def with_address(source: Source, address: str | None) -> Source:
    """Return the source with another address instead of its own."""
    return source if address is None else replace(source, urls=(address,))


def obtain(source: Source, folder: Path, address: str | None, bars: Bars) -> Path:
    """Download an archive into a folder unless it is there; return it. Raises as `download` does.

    `address` is that of a folder which has a file of the same name.
    """
    name = source.urls[0].rsplit("/", 1)[-1]
    archive = folder / name
    if not archive.is_file():
        part = archive.with_name(f"{name}.part")
        check_disk(folder, 2 * source.bytes - (part.stat().st_size if part.exists() else 0))
        urls = source.urls if address is None else (f"{address.rstrip('/')}/{name}",)

        def get(url: str) -> None:
            download(url, archive, source.bytes, source.md5, bars.downloading, sha256=source.sha256)

        _first_that_works(urls, get)
    return archive


def sources() -> dict[str, Source]:
    """Return what can be fetched, by name, from the package's own table."""
    text = resources.files("wsss.data").joinpath("downloads.json").read_text()
    return {
        name: Source(name, **{**entry, "urls": tuple(entry["urls"])})
        for name, entry in json.loads(text).items()
    }


def devkit_in(folder: Path) -> Path:
    """Return the devkit below a folder; the folder itself if it is one."""
    return folder if (folder / LISTS).is_dir() else folder / DEVKIT


def fetch_archive(source: Source, folder: Path, progress: Progress | None = None,
                  unpacking: Progress | None = None) -> Path | None:  # fmt: skip
    """Download a devkit's tar file and unpack it to `folder`/VOCdevkit/VOC2012, whole or not at all.

    Returns the devkit, None when it was there already. Raises `PreflightError` when network, server
    or disk fail, and `DataError` for a wrong checksum, for an archive that would write outside of the
    folder, and when something else is in the place of the devkit.

    Args:
        source: addresses, size and checksum of the archive.
        folder: where to.
        progress: gets (bytes so far, all bytes) of the download.
        unpacking: the same of the unpacking.
    """
    target = devkit_in(folder)
    if all((target / name).is_dir() for name in FOLDERS):
        return None
    if target.exists() and any(target.iterdir()):
        raise DataError(
            Problem(str(target), "holds something that is no VOC devkit", "choose another folder")
        )
    archive = folder / source.urls[0].rsplit("/", 1)[-1]
    if not archive.is_file():
        part = archive.with_name(f"{archive.name}.part")
        have = part.stat().st_size if part.exists() else 0
        check_disk(folder, 2 * source.bytes - have)  # the tar file, and then what was in it
        _first_that_works(source.urls, lambda url: download(url, archive, source.bytes, source.md5, progress))
    unpack(archive, target, unpacking)
    archive.unlink()
    return target


def unpack(archive: Path, target: Path, progress: Progress | None = None) -> None:
    """Unpack the devkit in a tar file; its folder appears only when it is whole.

    Raises `DataError` for a file that isn't such an archive, and for one that would write elsewhere.

    Args:
        archive: the tar file.
        target: the devkit's folder.
        progress: gets (bytes so far, all bytes).
    """
    aside = target.parent.parent / f".unpacking-{uuid.uuid4().hex[:8]}"
    try:
        with tarfile.open(archive) as tar:
            members = tar.getmembers()
            total, done = sum(member.size for member in members), 0
            check_disk(aside, total)
            for member in members:
                tar.extract(member, aside, filter="data")
                done += member.size
                if progress:
                    progress(done, total)
        found = aside / DEVKIT
        missing = [name for name in FOLDERS if not (found / name).is_dir()]
        if missing:
            raise DataError(Problem(str(archive), f"holds no {DEVKIT} with {', '.join(missing)}"))
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            target.rmdir()  # it is empty
        found.rename(target)
    except tarfile.FilterError as error:
        raise DataError(Problem(str(archive), f"is refused: {error}", "don't use this file")) from error
    except tarfile.TarError as error:
        raise DataError(Problem(str(archive), f"can't be unpacked: {error}", "fetch it again")) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def fetch_list(source: Source, folder: Path) -> Path:
    """Write a list of ids to the devkit's train_aug.txt, after its content was verified.

    Raises `DataError` when there is no devkit, when the ids are others than they should be, or when
    some of them are validation images; `PreflightError` when network or server fail.
    """
    devkit = devkit_in(folder)
    if not (devkit / LISTS).is_dir():
        hint = f"fetch it first: --what {VOC} --what {source.name}"
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

    _first_that_works(source.urls, get)
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


def id_digest(ids: Sequence[str]) -> str:
    """Return the hex SHA-256 of the sorted ids with a line end after each."""
    return hashlib.sha256("".join(f"{id}\n" for id in sorted(ids)).encode()).hexdigest()


def _first_that_works(urls: Sequence[str], get: Callable[[str], None]) -> None:
    """Call `get` with one address after the other until one gives what it should."""
    problems: list[Problem] = []
    for url in urls:
        try:
            get(url)
        except WsssError as error:
            problems += error.problems
            last: WsssError = error
        else:
            return
    raise type(last)(problems)
