"""Opening the storage that an address names: a folder, or an object storage."""

from __future__ import annotations

from pathlib import Path

from wsss.config.text.location import Location
from wsss.store.folder_storage import Storage
from wsss.store.lease import TIMEOUT


def open_storage(location: Location, *, lease_timeout: float = TIMEOUT) -> Storage:
    """Return the storage in a folder or at a URI. Raises `PreflightError` for a URI of no use."""
    if isinstance(location, str) and "://" in location:
        from wsss.store.objects.storage import ObjectStorage

        return ObjectStorage(location, lease_timeout=lease_timeout)
    return Storage(location, Path(location), lease_timeout=lease_timeout)


__all__ = ["Storage", "open_storage"]
