"""The folder of a foreign program: what is in it, as one digest, and a copy to work in.

What git tracks, and what it doesn't ignore, counts; without git, every file does. Nothing of the folder is
run to find out: neither hooks nor filters nor a monitor that its configuration may name.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss.errors import ConfigError, Problem, StageError
from wsss.files import sha256_json
from wsss.stages.programs.git import ask_git

MOST_FILES = 20_000
MOST_BYTES = 2**30
"""Most bytes and files that count of a folder: every trial reads them again, and copies them."""
MOST_LISTED = 20
GIT_SECONDS = 60
LEFT_OUT = ("__pycache__", ".git", ".hg", ".svn")

_known: dict[tuple[str, int, int, int], str] = {}
"""Digests by path, size, time and inode, as this process has found them."""


@dataclass(frozen=True)
class Source:
    """What is in a folder. `digest` is of all that counts; `commit` is empty without git; `changed` are files
    that are not as the commit has them, `ignored` those that its ignore rules name."""

    digest: str
    files: tuple[str, ...]
    commit: str = ""
    changed: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """Return what a record says of it."""
        changed = {"changed": list(self.changed[:MOST_LISTED]), "changes": len(self.changed)}
        return {"digest": self.digest, "files": len(self.files), "commit": self.commit or None, **changed}


def look_at(folder: Path) -> Source:
    """Look at what is in a folder. Raises `ConfigError` when that can't be read, or is too much."""
    if not folder.is_dir():
        raise _error(folder, "there is no such folder")
    try:
        return _with_git(folder) if _in_git(folder) else _plain(folder)
    except OSError as error:
        raise _error(folder, f"can't be read: {error.strerror or error}") from error


def copy(folder: Path, target: Path, digest: str) -> Source:
    """Copy the files of a folder that count into an empty one, and link those that git ignores, one by
    one.

    Raises `StageError` when the folder has changed since `digest` was taken.
    """
    source = look_at(folder)
    try:
        for name in source.files:
            _copy(folder / name, target / name)
        for name in source.ignored:
            link = target / name
            if not os.path.lexists(link):
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(folder / name)
        copied = _digest(target, source.files)
    except FileNotFoundError:
        copied = ""
    if copied != digest:
        message = "has changed since this run read it"
        raise StageError(Problem(str(folder), message, "`resume` makes what follows from it as it is now"))
    return source


def is_whole(target: Path, names: Iterable[str], digest: str) -> bool:
    """Whether a copy still has the files that it was made of, as they were."""
    try:
        return _digest(target, names) == digest
    except OSError:
        return False


def stamps(folder: Path, names: Iterable[str]) -> dict[str, list[int]]:
    """Return name → bytes and when it was changed, in nanoseconds, of the files that can be looked at."""
    found = {}
    for name in names:
        with contextlib.suppress(OSError):
            facts = (folder / name).stat()
            found[name] = [facts.st_size, facts.st_mtime_ns]
    return found


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink():
        target.symlink_to(os.readlink(source))
    else:
        shutil.copyfile(source, target)
        target.chmod(0o755 if os.access(source, os.X_OK) else 0o644)


def _in_git(folder: Path) -> bool:
    return any((parent / ".git").exists() for parent in (folder, *folder.parents))


def _plain(folder: Path) -> Source:
    names = tuple(sorted(_bounded(folder, _walk(folder), "move what isn't code out of it")))
    return Source(_digest(folder, names), names)


def _with_git(folder: Path) -> Source:
    listed = _git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names: list[str] = []
    for name in dict.fromkeys(listed):
        path = folder / name
        if path.is_dir() and not path.is_symlink():  # of a submodule
            names += [f"{name.rstrip('/')}/{below}" for below in _walk(path)]
        elif os.path.lexists(path):  # else it was deleted
            names.append(name)
    hint = "name the folder of the program itself, or what isn't code in its .gitignore"
    files = tuple(sorted(_bounded(folder, names, hint)))
    commit = "".join(_git(folder, "rev-parse", "--verify", "--quiet", "HEAD", fails=True)).strip()
    blobs = {}
    if commit:
        for line in _git(folder, "ls-tree", "-r", "-z", "HEAD"):
            about, _, name = line.partition("\t")
            blobs[name] = about.split()[2]
    changed = [
        name for name in files if name not in blobs or _blob(folder / name, blobs[name]) != blobs[name]
    ]
    gone = [name for name in blobs if not os.path.lexists(folder / name)]
    ignored: list[str] = []
    for name in _git(folder, "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory"):
        path = folder / name
        below = _walk(path) if path.is_dir() and not path.is_symlink() else [""]
        for one in below:
            if len(ignored) < MOST_FILES and not set(Path(name).parts) & set(LEFT_OUT):
                ignored.append(os.path.join(name, one) if one else name)
    return Source(_digest(folder, files), files, commit, tuple(sorted([*changed, *gone])), tuple(ignored))


def _git(folder: Path, *words: str, fails: bool = False) -> list[str]:
    try:
        done = ask_git(folder, *words, seconds=GIT_SECONDS)
    except FileNotFoundError as error:
        hint = "install it: what counts of a git repository is what git says"
        raise _error(folder, "is in a git repository, but there is no git here", hint) from error
    except subprocess.TimeoutExpired as error:
        raise _error(folder, f"git needs more than {GIT_SECONDS} s to list what is in it") from error
    if done.returncode and not fails:
        raise _error(folder, f"git can't read it: {done.stderr.decode(errors='replace').strip()[:300]}")
    return [os.fsdecode(name) for name in done.stdout.split(b"\0") if name]


def _walk(folder: Path) -> Iterator[str]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(one for one in folders if one not in LEFT_OUT)
        linked = [one for one in folders if os.path.islink(os.path.join(parent, one))]
        for name in [*names, *linked]:
            if not name.endswith(".pyc"):
                yield os.path.relpath(os.path.join(parent, name), folder)


def _bounded(folder: Path, names: Iterable[str], hint: str) -> list[str]:
    """Return the names of files and links; refuse more than may be read again and again."""
    found, size = [], 0
    for name in names:
        facts = (folder / name).lstat()
        if not (stat.S_ISREG(facts.st_mode) or stat.S_ISLNK(facts.st_mode)):
            continue
        size += facts.st_size
        found.append(name)
        if len(found) > MOST_FILES or size > MOST_BYTES:
            message = f"holds more than {MOST_FILES} files or {MOST_BYTES // 2**20} MiB that count"
            raise _error(folder, message, hint)
    return found


def _digest(folder: Path, names: Iterable[str]) -> str:
    return sha256_json([[name, *_content(folder / name)] for name in names])


def _content(path: Path) -> tuple[str, str]:
    facts = path.lstat()
    if stat.S_ISLNK(facts.st_mode):
        return "link", os.readlink(path)
    key = (str(path), facts.st_size, facts.st_mtime_ns, facts.st_ino)
    if key not in _known:
        if len(_known) > 4 * MOST_FILES:
            _known.clear()
        with path.open("rb") as file:
            _known[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return "program" if os.access(path, os.X_OK) else "file", _known[key]


def _blob(path: Path, other: str) -> str:
    """Return what git calls a file's content, by the kind of hash that `other` is."""
    content = os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes()
    return hashlib.new(
        "sha1" if len(other) == 40 else "sha256", b"blob %d\0" % len(content) + content
    ).hexdigest()


def _error(folder: Path, message: str, hint: str = "") -> ConfigError:
    return ConfigError(Problem(f"folder {folder}", message, hint))
