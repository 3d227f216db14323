"""Unpacking archives of data sets: whole or not at all, and nothing of them elsewhere."""

from __future__ import annotations

import shutil
import stat
import tarfile
import uuid
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from wsss.data.fetching.download import Progress, check_disk
from wsss.errors import DataError, Problem

BLOCK = 2**20
MOST_MEMBERS = 1_000_000


def unpack(
    archive: Path,
    target: Path,
    inside: str,
    needed: Callable[[str], bool] = lambda name: True,
    progress: Progress | None = None,
    *,
    holding: Sequence[str] = (),
) -> None:
    """Unpack one folder of a `.zip` or a tar file; it appears at `target` only when it is whole.

    Raises `DataError` for a file that isn't such an archive, lacks the folder, or would write elsewhere, and
    `PreflightError` when the disk has no room for it.

    Args:
        archive: the file.
        target: where the folder goes; there must be nothing yet, or an empty folder.
        inside: the folder's name in the archive.
        needed: tells by its name in the archive whether a file is wanted.
        progress: gets (bytes so far, all bytes).
        holding: folders that must be in the folder.
    """
    aside = archive.parent / f".unpacking-{uuid.uuid4().hex[:8]}"
    extract = _unzip if archive.suffix == ".zip" else _untar
    try:
        extract(archive, aside, needed, progress)
        found = aside / inside
        missing = [name for name in holding if not (found / name).is_dir()]
        if not found.is_dir() or missing:
            lacking = f" with {', '.join(missing)}" if missing else ""
            raise DataError(Problem(str(archive), f"holds no folder {inside}{lacking}"))
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            target.rmdir()  # it is empty
        found.rename(target)
    except tarfile.FilterError as error:
        raise DataError(Problem(str(archive), f"is refused: {error}", "don't use this file")) from error
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise DataError(Problem(str(archive), f"can't be unpacked: {error}", "fetch it again")) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _untar(archive: Path, aside: Path, needed: Callable[[str], bool], progress: Progress | None) -> None:
    with tarfile.open(archive) as tar:
        members = []
        for member in tar:  # one by one: their number is the archive's to say
            members.append(member)
            if len(members) > MOST_MEMBERS:
                raise _refused(archive, f"it holds more than {MOST_MEMBERS:,} files")
        total, done = sum(member.size for member in members), 0
        check_disk(aside, total)
        for member in members:
            if member.isdir() or needed(member.name.removeprefix("./")):
                tar.extract(member, aside, filter="data")
            done += member.size
            if progress:
                progress(done, total)


def _unzip(archive: Path, aside: Path, needed: Callable[[str], bool], progress: Progress | None) -> None:
    with zipfile.ZipFile(archive) as zipped:
        members = zipped.infolist()
        if len(members) > MOST_MEMBERS:
            raise _refused(archive, f"it holds more than {MOST_MEMBERS:,} files")
        wanted = [member for member in members if not member.is_dir() and needed(member.filename)]
        total, done = sum(member.file_size for member in wanted), 0
        check_disk(aside, total)
        for member in wanted:
            path = PurePosixPath(member.filename)
            kind = stat.S_IFMT(member.external_attr >> 16)
            if path.is_absolute() or ".." in path.parts or "\\" in member.filename:
                raise _refused(archive, f"{member.filename!r} would be written elsewhere")
            if kind not in (0, stat.S_IFREG):
                raise _refused(archive, f"{member.filename!r} is no plain file")
            place = aside / path
            place.parent.mkdir(parents=True, exist_ok=True)
            with zipped.open(member) as source, place.open("xb") as file:
                left = member.file_size  # a size that is a lie fills no disk
                while left and (block := source.read(min(BLOCK, left))):
                    file.write(block)
                    left -= len(block)
                    done += len(block)
                    if progress:
                        progress(done, total)
                if left or source.read(1):
                    raise _refused(archive, f"{member.filename!r} has another size than it states")


def _refused(archive: Path, message: str) -> DataError:
    return DataError(Problem(str(archive), f"is refused: {message}", "don't use this file"))
