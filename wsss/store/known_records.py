"""The records of artefacts in a folder: read, and remembered for as long as their files don't change."""

from __future__ import annotations

import errno
from collections import OrderedDict
from pathlib import Path

from wsss.errors import Problem, StorageError
from wsss.files import read_file, storage_error
from wsss.store.artefact import RECORD, Artefact
from wsss.store.records import parse_record, say_once

UNREADABLE = frozenset({errno.EIO, errno.ESTALE})
"""What a disk answers that may answer otherwise later: what it holds doesn't count as missing."""
REMEMBERED = 512
"""How many records a store keeps in memory."""


class KnownRecords:
    """Reads records, and keeps the last ones in memory."""

    def __init__(self) -> None:
        self._records: OrderedDict[str, tuple[tuple[int, int, int], Artefact]] = OrderedDict()

    def look(self, key: str, folder: Path) -> tuple[Artefact | None, str]:
        """Return the artefact, or what is wrong with its record: nothing, if it was never finished.

        Raises `StorageError` when the disk may answer later.

        Args:
            key: of the artefact.
            folder: where it is, if it is finished.
        """
        path = folder / RECORD
        try:
            facts = path.stat()
            stamp = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
            remembered = self._records.get(key)
            if remembered and remembered[0] == stamp:
                self._records.move_to_end(key)
                return remembered[1], ""
            record = parse_record(read_file(path), key)
        except OSError as error:
            if error.errno in UNREADABLE:
                raise storage_error(path, error, what="read") or error from error
            if error.errno in (errno.EACCES, errno.EPERM):  # another user's, who shares the storage alone
                say_once(str(path), f"can't be read: {error.strerror}; it counts as missing")
            return None, ""
        except ValueError as error:
            return None, f"{RECORD}: {error}"
        artefact = Artefact(key, folder, record)
        self._records[key] = (stamp, artefact)
        if len(self._records) > REMEMBERED:
            self._records.popitem(last=False)
        return artefact, ""


def check_access(record: Path) -> None:
    """Raise `StorageError` if a record is there that this user can't read.

    To look whether there is one is not enough: another writer may have put it there since it was read.
    """
    try:
        record.open("rb").close()
    except PermissionError as error:
        message = "can't be read, so that nothing can be put in its place"
        raise StorageError(Problem(str(record), message, "give access, then `resume`")) from error
    except OSError:
        return
