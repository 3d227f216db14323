"""A storage small enough to keep beside a paper: studies with their scores, of everything else the record.

`compare` and `report` read it as any storage and print the same tables. Pictures and weights are not in it,
nor where files lay on the machine that it comes from, who ran its studies, and to which MLflow they went.
"""

from __future__ import annotations

import contextlib
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from wsss.config.text.yaml_text import dump_yaml, parse_yaml
from wsss.errors import ConfigError, Problem, WsssError
from wsss.files import place, writing
from wsss.pipeline.chains.chain import SCORES
from wsss.pipeline.origin import ENTRY
from wsss.pipeline.past.data_inventory import INVENTORY_FILE
from wsss.pipeline.past.stored_studies import find_study, with_bases
from wsss.pipeline.past.whereabouts import Whereabouts
from wsss.stages.kinds.scoring.scores import CURVES_FILE
from wsss.store.artefact import Artefact
from wsss.store.folder_storage import STUDY, Storage
from wsss.store.leftovers import PARTIAL

ENDING = ".tar.xz"
PICTURE = ".png"


def write_archive(storage: Storage, names: Sequence[str], file: Path, *, curves: bool = True) -> int:
    """Pack studies of a storage into one file, and return its bytes.

    The same studies give the same bytes. Raises `ConfigError` for a study that isn't there or a file that is,
    and `StorageError` when the file can't be written.

    Args:
        storage: has the studies.
        names: of the studies, which those that they are based on go with: what these tried and were allowed
            stands below tables. All of the storage without any.
        file: ends in `.tar.xz`.
        curves: whether to pack the counts at every threshold, nine tenths of the bytes. No score needs them,
            only what choosing with fewer masks would have reported.
    """
    names = names or storage.study_names()
    for name in names:
        storage.require(name)
    names = list(dict.fromkeys(one for name in names for one in _with_bases(name, storage)))
    if not file.name.endswith(ENDING):
        raise ConfigError(Problem("--out", f"is {file}, but its name must end in {ENDING}"))
    if file.exists():
        raise ConfigError(Problem(str(file), "is there already", "give another --out, or delete it"))
    studies = {name: _parsed(storage.study_text(name) or "") for name in names}
    known = {str(storage.location): "runs", str(storage.local.resolve()): "runs"}
    places = Whereabouts(known, list(studies.values()))
    left_out = (PICTURE,) if curves else (PICTURE, CURVES_FILE)
    with writing(file), tempfile.TemporaryDirectory(dir=file.parent, prefix=".archive-") as folder:
        root = Path(folder) / "runs"
        for name in names:
            _copy_study(storage, name, studies[name], places, Storage(root, root), left_out)
        packed = Path(folder) / file.name
        _pack(root, packed)
        packed.replace(file)
    return file.stat().st_size


def _with_bases(name: str, storage: Storage) -> Iterator[str]:
    """Iterate over a study's name and those of the studies that it is based on, as far as they are there."""
    yield name
    try:
        yield from (study.name for study in with_bases(find_study(name, storage.location), storage.location))
    except WsssError:  # an earlier version's, or damaged: it is kept as it is
        return


def _parsed(text: str) -> Any:
    """Return a stored study's values; the text itself where it is none."""
    with contextlib.suppress(ConfigError):
        value = parse_yaml(text, STUDY).value
        return value if isinstance(value, dict) else text
    return text


def _copy_study(
    storage: Storage, name: str, study: Any, places: Whereabouts, into: Storage, left_out: tuple[str, ...]
) -> None:
    """Write one study's file, ledger, notes, and what its trials made, into a storage in a folder.

    Args:
        storage: has it.
        name: of the study.
        study: what its file says.
        places: the names of paths, for all that is written.
        into: the storage in a folder.
        left_out: how the names of files end that stay behind.
    """
    if isinstance(study, dict) and isinstance(study.get("tracking"), dict):
        study = {**study, "tracking": {**study["tracking"], "uri": None}}
    told = places.without(study)
    into.write_note(name, STUDY, told if isinstance(told, str) else dump_yaml(told))
    for note in (INVENTORY_FILE,):
        content = storage.note(name, note)
        if content is not None:
            with contextlib.suppress(UnicodeDecodeError):  # of a damaged one, nothing is known anyway
                into.write_note(name, note, content.decode())
    ledger = into.ledger(name)
    for entry in storage.ledger(name).entries():
        told = places.without({**entry, **({"user": ""} if entry["type"] == ENTRY else {})})
        ledger.append(told.pop("type"), **told)
    for trial in storage.ledger(name).trials().values():
        for key in trial.keys.values():
            artefact = storage.store.known(key)
            if artefact is not None and not into.store.folder(key).exists():
                _copy_artefact(storage, artefact, places, into, left_out)


def _copy_artefact(
    storage: Storage, artefact: Artefact, places: Whereabouts, into: Storage, left_out: tuple[str, ...]
) -> None:
    """Commit an artefact with the numbers of its scores, and nothing where it is none."""
    key = artefact.key
    work = into.local / "work"
    work.mkdir(parents=True)
    numbers = artefact.stage == SCORES and not artefact.evicted
    if numbers:
        with storage.store.using([key]):
            for file in artefact.record["files"]:
                if not file.endswith(left_out):
                    place(artefact.folder / file, work / file)
    into.store.commit(key, work, places.without(artefact.record))
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
