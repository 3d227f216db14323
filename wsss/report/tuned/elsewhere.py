"""How studies searched, and what other studies of a storage tried of the same networks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from wsss.config import Study
from wsss.errors import WsssError
from wsss.pipeline.past.stored_studies import find_study
from wsss.pipeline.past.tried import attempts, tried_for
from wsss.report.comparison import Row
from wsss.store.ledger import TrialRecord
from wsss.store.storage import Storage


def searched_as(studies: Iterable[Study]) -> str:
    """Return how a study and its bases searched, and by which scores they chose: "random search by
    select/miou"; empty where there was nothing to search."""
    sweeps = [sweep for study in studies for sweep in study.sweeps if any(arm.search for arm in sweep.arms)]
    ways = dict.fromkeys(
        f"{sweep.searcher.kind} search"
        + (f" under {sweep.scheduler.kind}" if sweep.scheduler.judges else "")
        + (f" by {sweep.metric.partition('/')[2]}" if sweep.metric else "")
        for sweep in sweeps
    )
    return " and ".join(sorted(ways))


def tried_elsewhere(
    rows: Sequence[Row],
    networks: Sequence[Sequence[str]],
    own: Mapping[str, Sequence[str]],
    storage: Storage,
) -> list[dict[str, int]]:
    """Return, for each row, the studies that have one of its networks among more configurations than its own
    study tried → their number.

    A study may fix what another one has found: then it tried one configuration, and the choice was among all
    of the other's. The same networks have the same keys.

    Args:
        rows: with what was tried for them.
        networks: the keys of each row's networks.
        own: each study's name → its own and those of its bases, which count already.
        storage: where the studies are.
    """
    found: list[dict[str, int]] = [{} for _ in rows]
    every = {key for keys in networks for key in keys}
    for name in storage.study_names() if every else ():
        ledger = storage.ledger(name)
        if all(name in own[row.study] for row in rows) or not ledger.mentions(every):
            continue
        trials = ledger.trials()
        first = _first_with(trials, every)
        try:
            study = find_study(name, storage.location)
        except WsssError:  # another version wrote it: nothing can be said of it
            continue
        for number, (row, keys) in enumerate(zip(rows, networks, strict=True)):
            there = [first[key] for key in keys if key in first]
            if name in own[row.study] or row.tried is None or not there:
                continue
            counts = (
                tried_for(one.arm, attempts(study, storage, trials, through=one.sweep), storage.store)
                for one in there
            )
            most = max(tried.configurations for tried in counts)
            if most > row.tried.configurations:
                found[number][name] = most
    return found


def _first_with(trials: Mapping[str, TrialRecord], keys: set[str]) -> dict[str, TrialRecord]:
    """Return the first trial that asked for each of these keys."""
    first: dict[str, TrialRecord] = {}
    for trial in trials.values():
        for key in keys & set(trial.keys.values()):
            first.setdefault(key, trial)
    return first
