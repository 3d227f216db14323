"""What all that `data fetch` can bring has in common: addresses, sizes, checksums, and how a file is got."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, NamedTuple

from wsss.data.fetching.download import Progress, check_disk, download
from wsss.errors import Problem, WsssError
from wsss.plugins import Registry


@dataclass(frozen=True)
class Source:
    """A file that can be fetched. An archive has `bytes`, and `md5` or `sha256`; a list of ids has `count`,
    and `sha256` of the sorted ids with a line end after each, as its layout differs from place to place."""

    name: str
    urls: tuple[str, ...]
    bytes: int = 0
    md5: str = ""
    count: int = 0
    sha256: str = ""


class Bars(NamedTuple):
    """What gets (bytes so far, all bytes) of the work that takes its time."""

    downloading: Progress | None = None
    unpacking: Progress | None = None


class Fetch(ABC):
    """Something that `data fetch` brings: a data set, or a part of one."""

    name: ClassVar[str]
    about: ClassVar[str]
    """What it is and how large, in a line."""
    after: ClassVar[tuple[str, ...]] = ()
    """What has to be fetched before it."""

    @classmethod
    @abstractmethod
    def run(cls, folder: Path, address: str | None, bars: Bars) -> Path | None:
        """Fetch it into a folder; return where it is, None when it was there already.

        Raises `PreflightError` when network, server or disk fail, and `DataError` for content that is not
        what it should be.

        Args:
            folder: where to.
            address: another place, that of the file or of the folder with all files; None for the usual ones.
            bars: get the progress.
        """


FETCHES: Registry[type[Fetch]] = Registry("thing to fetch", "wsss.data.fetching")


def with_address(source: Source, address: str | None) -> Source:
    """Return the source with another address instead of its own."""
    return source if address is None else replace(source, urls=(address,))


def obtain(source: Source, folder: Path, address: str | None, bars: Bars) -> Path:
    """Download an archive into a folder unless it is there; return it. Raises as `download` does.

    Args:
        source: addresses, size and checksum.
        folder: where the archive goes.
        address: of a folder that has a file of the same name, instead of the source's addresses; None for
            these.
        bars: show how far it is.
    """
    name = source.urls[0].rsplit("/", 1)[-1]
    archive = folder / name
    if not archive.is_file():
        part = archive.with_name(f"{name}.part")
        check_disk(folder, 2 * source.bytes - (part.stat().st_size if part.exists() else 0))
        urls = source.urls if address is None else (f"{address.rstrip('/')}/{name}",)

        def get(url: str) -> None:
            download(url, archive, source.bytes, source.md5, bars.downloading, sha256=source.sha256)

        first_that_works(urls, get)
    return archive


def id_digest(ids: Sequence[str]) -> str:
    """Return the hex SHA-256 of the sorted ids with a line end after each."""
    return hashlib.sha256("".join(f"{id}\n" for id in sorted(ids)).encode()).hexdigest()


def first_that_works(urls: Sequence[str], get: Callable[[str], None]) -> None:
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
