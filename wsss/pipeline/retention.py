"""Which files stay: those of trials that some study kept. Records and scores always stay."""

from __future__ import annotations

import shutil
from pathlib import Path

from wsss.pipeline.ledger import Ledger
from wsss.pipeline.partial import is_in_use
from wsss.pipeline.store import Store


def wanted_keys(storage: Path) -> set[str]:
    """Return the keys that must keep their files: those of kept trials, in every study.

    A trial of a sweep that hasn't ended may still be kept, so its keys are wanted too.
    """
    wanted: set[str] = set()
    for folder in sorted((storage / "studies").glob("*")):
        ledger = Ledger(folder)
        ended = {entry["sweep"]: set(entry["keys"]) for entry in ledger.entries() if entry["type"] == "kept"}
        for keys in ended.values():
            wanted |= keys
        for trial in ledger.trials().values():
            if trial.sweep not in ended:
                wanted |= set(trial.keys.values())
    return wanted


def evictable(storage: Path, store: Store) -> list[str]:
    """Return the keys of artefacts whose files nobody wants; scores are never among them."""
    wanted = wanted_keys(storage)
    return [
        artefact.key
        for artefact in store
        if artefact.key not in wanted and artefact.stage != "scores" and not artefact.evicted
    ]


def evict_unkept(storage: Path, store: Store) -> int:
    """Delete the files of artefacts that no study kept, and half-made ones of trials that were stopped;
    return the bytes freed."""
    freed = sum(store.evict(key) for key in evictable(storage, store))
    wanted = wanted_keys(storage)
    for key in sorted(_stopped_keys(storage) - wanted):
        folder = store.root / "partial" / key
        if folder.is_dir() and not is_in_use(folder):
            freed += _remove(folder, dry_run=False)
    return freed


def _stopped_keys(storage: Path) -> set[str]:
    return {
        key
        for folder in sorted((storage / "studies").glob("*"))
        for trial in Ledger(folder).trials().values()
        if trial.status == "stopped"
        for key in trial.keys.values()
    }


def prune(storage: Path, *, dry_run: bool) -> dict[str, int]:
    """Delete what can be made again; return description → bytes. With `dry_run`, delete nothing.

    Half-made artefacts that a live process works on are left alone.
    """
    store = Store(storage / "store")
    freed: dict[str, int] = {}
    for key in evictable(storage, store):
        artefact = store.known(key)
        if artefact is not None:
            freed[f"{artefact.stage} {key[:12]}, not kept by any study"] = artefact.bytes
            if not dry_run:
                store.evict(key)
    for folder in sorted((store.root / "partial").glob("*")):
        if not is_in_use(folder):
            freed[f"half-made {folder.name[:12]}"] = _remove(folder, dry_run)
    for folder in sorted((store.root / "damaged").glob("*")):
        freed[f"damaged {folder.name[:12]}"] = _remove(folder, dry_run)
    return freed


def _remove(folder: Path, dry_run: bool) -> int:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if not dry_run:
        shutil.rmtree(folder)
    return size
