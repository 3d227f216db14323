"""Which files stay: those of trials that a study has kept. Records and scores always stay.

Retention is safe while studies run. It keeps what the trials of an unfinished sweep need, what a failed
trial had finished, and what the holder of a lease reads or makes; it looks again while it deletes files.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from wsss.config.text.yaml_text import parse_yaml
from wsss.errors import ConfigError
from wsss.pipeline.chains.chain import SCORES
from wsss.pipeline.past.data_inventory import INVENTORY_FILE
from wsss.store.lease import TIMEOUT, Leases, is_dead, this_host
from wsss.store.ledger import Ledger
from wsss.store.leftovers import Leftover
from wsss.store.records import say_once
from wsss.store.storage import Storage

FRESH_SECONDS = 2.0
"""Seconds after which retention reads the ledgers again before it deletes a file."""
WATCH_SECONDS = 1.0
LOST = "its ledger is gone or can't be read at all: every artefact stays until it is run again"


@dataclass
class _Begun:
    """A trial that a later run may resume: one of an open sweep, or one that failed."""

    arm: str
    configuration: str
    keys: set[str] = field(default_factory=set)
    status: str = "started"


def wanted_by(ledger: Ledger) -> set[str]:
    """Return the keys that a study wants: of kept trials, of all in a sweep that hasn't ended, and of
    those that failed, until a later end of their sweep: `resume` goes on with them. Also those in lines that
    can't be read."""
    kept: dict[str, set[str]] = {}
    begun: dict[str, dict[str, _Begun]] = {}
    for entry in ledger.entries():
        if entry["type"] == "trial":  # after a sweep's end: it is run again
            trials = begun.setdefault(entry["sweep"], {})
            trial = trials.setdefault(entry["id"], _Begun(entry["arm"], entry["configuration"]))
            trial.keys.update(entry["keys"].values())
        elif entry["type"] == "end":
            for trials in begun.values():
                if entry["id"] in trials:
                    trials[entry["id"]].status = entry["status"]
        elif entry["type"] == "kept":
            kept[entry["sweep"]] = set(entry["keys"])
            begun[entry["sweep"]] = _unsettled(begun.get(entry["sweep"], {}))
    going_on = (trial.keys for trials in begun.values() for trial in trials.values())
    return ledger.unreadable_keys().union(*kept.values(), *going_on)


def _unsettled(trials: Mapping[str, _Begun]) -> dict[str, _Begun]:
    """Return the trials of a sweep that has ended which a later run may need: those that failed, and the
    rest of an arm in which some seeds of a configuration failed, as its mean will change."""
    failed = {trial.configuration for trial in trials.values() if trial.status == "failed"}
    ranked = {t.arm for t in trials.values() if t.configuration in failed and t.status == "done"}
    return {
        id: trial
        for id, trial in trials.items()
        if trial.status == "failed" or (trial.status == "done" and trial.arm in ranked)
    }


def _all_of(ledger: Ledger) -> set[str]:
    """Return the keys of all trials that a study ever had."""
    return ledger.unreadable_keys() | {
        key for e in ledger.entries() if e["type"] == "trial" for key in e["keys"].values()
    }


def _retains_all(storage: Storage, study: str) -> bool:
    """Whether a study keeps everything; also one whose file can't be read, to be on the safe side."""
    try:
        text = storage.study_text(study)
        content = {} if text is None else parse_yaml(text, study).value
    except ConfigError:
        return True
    return not isinstance(content, dict) or content.get("retain") == "all"


class _Wanted:
    """What must keep its files, in all studies of a storage; a ledger is read again when it has grown. While
    one of them can't be read at all, that is everything.

    `retain`: of studies with `retain: all` that is everything.
    """

    def __init__(self, storage: Storage, *, retain: bool) -> None:
        self._storage = storage
        self._retain = retain
        self._by_study: dict[str, tuple[Hashable, set[str]]] = {}
        self._looked = -FRESH_SECONDS
        self._inputs: set[str] = set()
        self._lost: set[str] = set()

    def __contains__(self, key: str) -> bool:
        if time.monotonic() - self._looked >= FRESH_SECONDS:
            self._look()
        return (
            bool(self._lost)
            or key in self._inputs
            or any(key in wanted for _, wanted in self._by_study.values())
        )

    def _look(self) -> None:
        for name in self._storage.study_names():
            ledger = self._storage.ledger(name)
            stamp = ledger.stamp()
            if name not in self._by_study or self._by_study[name][0] != stamp:
                whole = self._retain and _retains_all(self._storage, name)
                self._by_study[name] = (stamp, _all_of(ledger) if whole else wanted_by(ledger))
                self._lost.discard(name)
                if ledger.is_lost() or self._has_begun_without(ledger, name):
                    self._lost.add(name)
                    place = self._storage.study_address(name)
                    say_once(place, LOST)
        self._inputs = {
            key for _, about in self._storage.store.leases().values() for key in about.get("inputs", ())
        }
        self._looked = time.monotonic()

    def _has_begun_without(self, ledger: Ledger, name: str) -> bool:
        """Whether work on a study has begun, as its inventory shows, and yet its ledger holds nothing."""
        return self._storage.note(name, INVENTORY_FILE) is not None and not any(
            True for _ in ledger.entries()
        )


def wanted_keys(storage: Storage) -> set[str]:
    """Return the keys that must keep their files, over all studies.

    A trial of a sweep that hasn't ended may still be kept, so its keys are wanted too.
    """
    return set().union(*(wanted_by(storage.ledger(name)) for name in storage.study_names()))


def evictable(storage: Storage, *, retain: bool) -> Iterator[tuple[str, str, int]]:
    """Iterate over (key, stage, bytes) of artefacts whose files nobody wants; never over scores, and with
    `retain` over nothing of a study with `retain: all`. Also of what an eviction that was cut short has left.

    Evict one before the next is asked for: what is wanted is looked up as late as that.
    """
    wanted = _Wanted(storage, retain=retain)
    store = storage.store
    for artefact in store:
        left = store.left(artefact.key)
        if left is None:
            continue
        if artefact.evicted or (artefact.stage != SCORES and artefact.key not in wanted):
            yield artefact.key, artefact.stage, left


def evict_unkept(storage: Storage) -> int:
    """Delete the files of artefacts that no study kept or retains, and half-made ones of trials that were
    stopped and on which nobody works; return the bytes freed."""
    freed = sum(storage.store.evict(key) for key, _, _ in evictable(storage, retain=True))
    stopped = _stopped_keys(storage)
    for leftover in storage.store.half_made() if stopped else ():
        if leftover.name in stopped and all(is_dead(about) for _, about in leftover.leases().values()):
            leftover.remove()
            freed += leftover.bytes
    return freed


def _stopped_keys(storage: Storage) -> set[str]:
    """Return the keys of trials that studies without `retain: all` stopped early and that no study wants."""
    ledgers = [storage.ledger(name) for name in storage.study_names() if not _retains_all(storage, name)]
    stopped = {
        key
        for ledger in ledgers
        for trial in ledger.trials().values()
        if trial.status == "stopped"
        for key in trial.keys.values()
    }
    return stopped - wanted_keys(storage) if stopped else stopped


def prune(storage: Storage, *, dry_run: bool, timeout: float = TIMEOUT) -> dict[str, int]:
    """Delete what can be made again; return description → bytes. With `dry_run`, delete nothing.

    A half-made artefact that a run works on is kept. Retention watches a lease of another machine for at
    most `timeout` seconds to learn whether its holder lives.
    """
    freed: dict[str, int] = {}
    for key, stage, count in evictable(storage, retain=False):
        freed[f"{stage} {key[:12]}, not kept by any study"] = count
        if not dry_run:
            storage.store.evict(key)
    wanted = wanted_keys(storage)  # `resume` goes on from their checkpoints
    half_made = [leftover for leftover in storage.store.half_made() if leftover.name not in wanted]
    for leftover in _abandoned(half_made, timeout):
        _note(freed, f"half-made {_short(leftover.name)}", leftover.bytes)
        if not dry_run:
            leftover.remove()
    for leftover in storage.store.damaged():
        _note(freed, f"damaged {_short(leftover.name)}", leftover.bytes)
        if not dry_run:
            leftover.remove()
    if copies := storage.store.drop_copies(dry_run=dry_run):
        freed["copies on this machine that nobody reads"] = copies
    return freed


def _short(name: str) -> str:
    key, dash, rest = name.partition("-")
    return f"{key[:12]}{dash}{rest}"


def _note(freed: dict[str, int], what: str, count: int) -> None:
    freed[what] = freed.get(what, 0) + count


def _abandoned(leftovers: Sequence[Leftover], timeout: float) -> list[Leftover]:
    """Return the leftovers that no run works on, after watching the others for signs of life."""
    first = [leftover.leases() for leftover in leftovers]
    live = {number for number, leases in enumerate(first) if any(_is_here(one) for _, one in leases.values())}
    unsure = {
        number
        for number, leases in enumerate(first)
        if number not in live and any(not is_dead(about) for _, about in leases.values())
    }
    until = time.monotonic() + timeout
    while unsure and time.monotonic() < until:
        time.sleep(min(WATCH_SECONDS, timeout))
        changed = {n for n in unsure if _states(leftovers[n].leases()) != _states(first[n])}
        unsure -= changed
        live |= changed
    return [leftover for number, leftover in enumerate(leftovers) if number not in live]


def _states(leases: Leases) -> dict[str, str]:
    return {owner: state for owner, (state, _) in leases.items()}


def _is_here(about: Mapping[str, object]) -> bool:
    """Tell whether a lease's holder is a process of this machine that runs."""
    return about.get("host") == this_host() and not is_dead(about)
