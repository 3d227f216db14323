"""A storage small enough to keep beside a paper: studies with their scores, of everything else the record.

`compare` and `report` read it as any storage and print the same tables; pictures and weights are not in it.
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from wsss.errors import ConfigError, Problem
from wsss.files import place, writing
from wsss.pipeline.chains.chain import SCORES
from wsss.store.artefact import Artefact
from wsss.store.folder_storage import STUDY, Storage
from wsss.store.leftovers import PARTIAL

ENDING = ".tar.xz"
NOTES = ("data.json",)
PICTURE = ".png"


def write_archive(storage: Storage, names: Sequence[str], file: Path) -> int:
    """Pack studies of a storage into one file, and return its bytes.

    The same studies give the same bytes. Raises `ConfigError` for a study that isn't there or a file that is,
    and `StorageError` when the file can't be written.

    Args:
        storage: has the studies.
        names: of the studies; all of the storage without any.
        file: ends in `.tar.xz`.
    """
    names = names or storage.study_names()
    for name in names:
        storage.require(name)
    if not file.name.endswith(ENDING):
        raise ConfigError(Problem("--out", f"is {file}, but its name must end in {ENDING}"))
    if file.exists():
        raise ConfigError(Problem(str(file), "is there already", "give another --out, or delete it"))
    with writing(file), tempfile.TemporaryDirectory(dir=file.parent, prefix=".archive-") as folder:
        root = Path(folder) / "runs"
        for name in names:
            _copy_study(storage, name, Storage(root, root))
        packed = Path(folder) / file.name
        _pack(root, packed)
        packed.replace(file)
    return file.stat().st_size


def _copy_study(storage: Storage, name: str, into: Storage) -> None:
    """Write one study's file, ledger, notes, and what its trials made, into a storage in a folder."""
    for note in (STUDY, *NOTES):
        content = storage.note(name, note)
        if content is not None:
            into.write_note(name, note, content.decode())
    ledger = into.ledger(name)
    for entry in storage.ledger(name).entries():
        ledger.append(entry["type"], **{name: value for name, value in entry.items() if name != "type"})
    for trial in storage.ledger(name).trials().values():
        for key in trial.keys.values():
            artefact = storage.store.known(key)
            if artefact is not None and not into.store.folder(key).exists():
                _copy_artefact(storage, artefact, into)


def _copy_artefact(storage: Storage, artefact: Artefact, into: Storage) -> None:
    """Commit an artefact with the numbers of its scores, and nothing where it is none."""
    key = artefact.key
    work = into.local / "work"
    work.mkdir(parents=True)
    numbers = artefact.stage == SCORES and not artefact.evicted
    if numbers:
        with storage.store.using([key]):
            for file in artefact.record["files"]:
                if not file.endswith(PICTURE):
                    place(artefact.folder / file, work / file)
    into.store.commit(key, work, artefact.record)
    if not numbers:
        into.store.evict(key)


def _pack(root: Path, file: Path) -> None:
    """Write a folder as a tar file that says nothing of when it was written, and by whom."""
    shutil.rmtree(root / "store" / PARTIAL, ignore_errors=True)
    with tarfile.open(file, "w:xz") as tar:
        for path in sorted(root.rglob("*")):
            if path.is_file():
                about = tar.gettarinfo(path, path.relative_to(root.parent).as_posix())
                about.mtime = about.uid = about.gid = 0
                about.uname = about.gname = ""
                about.mode = 0o644
                with path.open("rb") as content:
                    tar.addfile(about, content)
