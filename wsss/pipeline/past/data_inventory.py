"""The inventory of a study's data, with the folders that other programs filled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from wsss.config import Study
from wsss.config.stage import STAGES
from wsss.data.readers.inventory import Inventory, read_inventory, take_inventory
from wsss.data.view import DataView
from wsss.store.storage import Storage

INVENTORY_FILE = "data.json"
"""A file beside the study: the inventory of its data when it last ran."""


def stored_inventory(storage: Storage, name: str) -> Inventory | None:
    """Return the inventory of a study's data when it last ran; None when it isn't known."""
    return read_inventory(storage.note(name, INVENTORY_FILE))


def store_inventory(storage: Storage, name: str, inventory: Inventory) -> None:
    """Store the inventory of a study's data. Raises `StorageError`."""
    storage.write_note(name, INVENTORY_FILE, inventory.to_json())


def study_inventory(study: Study, data: DataView) -> Inventory:
    """Return the inventory of a study's data as they are now. Raises `DataError` for missing or broken
    files."""
    found: dict[tuple[str, str], Mapping[str, Path]] = {}
    for _, _, use in study.uses():
        for folder, paths in STAGES[use.stage].foreign(use.params, data).items():
            found[folder, str(next(iter(paths.values()), ""))] = paths
    imports = [data.file_key(paths) for paths in found.values()]
    return take_inventory(data, imports=imports, masks_train="train_on_masks" in study.data.allow)
