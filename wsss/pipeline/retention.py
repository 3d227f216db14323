"""Which files stay: those of trials that some study kept. Records and scores always stay."""

from __future__ import annotations

from pathlib import Path

from wsss.pipeline.ledger import Ledger
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
    """Delete the files of artefacts that no study kept; return the bytes freed."""
    return sum(store.evict(key) for key in evictable(storage, store))
