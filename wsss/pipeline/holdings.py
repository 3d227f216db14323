"""What a study's data hold, the folders that other programs filled included."""

from __future__ import annotations

from pathlib import Path

from wsss.config import Study
from wsss.data.inventory import Inventory, read_inventory, take_inventory
from wsss.data.view import DataView
from wsss.masks.foreign import foreign_files
from wsss.store.storage import Storage

FILE = "data.json"
"""Beside a study: what its data held when it was last run."""


def stored_inventory(storage: Storage, name: str) -> Inventory | None:
    """Return what a study's data held when it was last run; None when that isn't known."""
    return read_inventory(storage.note(name, FILE))


def store_inventory(storage: Storage, name: str, inventory: Inventory) -> None:
    """Keep what a study's data hold. Raises `StorageError`."""
    storage.write_note(name, FILE, inventory.to_json())


def study_inventory(study: Study, data: DataView) -> Inventory:
    """Return what a study's data hold now. Raises `DataError` for files that are missing or broken."""
    folders: dict[tuple[str, str], None] = {}
    for sweep in study.sweeps:
        for arm in sweep.arms:
            for use in arm.stages:
                for kind in ("cams", "masks") if use.stage == "import" else ():
                    folder = use.params.get(kind)
                    if isinstance(folder, str) and not folder.startswith("$"):
                        folders[kind, folder] = None
    imports = [
        data.file_key(foreign_files(Path(folder), data.labelled_ids, "cams" if kind == "cams" else "masks"))
        for kind, folder in folders
    ]
    return take_inventory(data, imports=imports, masks_train="train_on_masks" in study.data.allow)
