"""Methods side by side: one row an arm, one column a step of the chain, from the stored scores.

Every number is read from score artefacts: mIoU on the `report` images at the threshold chosen on
`select`, or, of networks that are given no labels, on the `test` images. Intervals come from
resampling images (per-image confusion matrices), with the same resamples for every arm, so that
differences are paired.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from wsss.config import Study
from wsss.config.checks.fairness import unnamed
from wsss.config.stage import scored_as
from wsss.config.text.location import Location
from wsss.errors import ConfigError, Problem, nearest
from wsss.pipeline.forecasts.counts import kept_groups, planned
from wsss.pipeline.past.stored_studies import find_study, with_bases
from wsss.pipeline.past.tried import attempts, tried_for
from wsss.pipeline.running import current_holder
from wsss.pipeline.search.arms import MARK, arm_names, comes_from
from wsss.report.cells import by_step, cells_of, corrected, mark_across
from wsss.report.comparison import Cell, Comparison, Protocol, Row, Unfinished
from wsss.report.origins import (
    made_elsewhere,
    made_once,
    made_smaller,
    means_of,
    networks_of,
    pixel_labels,
    processors_of,
    really_trained_for,
    segments,
    supervision_of,
    trained_for,
    trained_on,
)
from wsss.report.readings import (
    Score,
    Scores,
    holdout,
    holdout_sizes,
    masks_of,
    pictures_of,
    read_scores,
)
from wsss.report.tuned.elsewhere import searched_as, tried_elsewhere
from wsss.store.folder_store import Store
from wsss.store.ledger import TrialRecord, trials_of
from wsss.store.storage import Storage, open_storage


@dataclass(frozen=True)
class _Group:
    """The trials that a row stands for, one a seed, and what the storage says of them."""

    study: Study
    trials: Sequence[TrialRecord]
    scores: Mapping[int, Scores]
    """By seed."""
    declared: Sequence[str]
    """The kinds of labels that its study declares."""
    supervision: tuple[str, ...]
    once: tuple[str, ...]
    """What other programs made once, whatever the seed."""

    @property
    def arm(self) -> str:
        return self.trials[0].arm


def compare(location: Location, names: Sequence[str], baseline: str | None = None) -> Comparison:
    """Compare the arms of one or more studies on a storage.

    Raises `ConfigError` for an unknown study or baseline.

    Args:
        location: the storage.
        names: of the studies.
        baseline: the arm that all others are compared with; None: see `baseline_of`.
    """
    storage = open_storage(location)
    store = storage.store
    studies = {name: find_study(name, location) for name in names}
    ledgers = {name: _ledger(storage, name) for name in names}
    chosen = [(studies[name], trials) for name in names for trials in _groups(ledgers[name])]
    reference = baseline_of(baseline, [trials[0] for _, trials in chosen])
    groups = [_group(study, trials, storage) for study, trials in chosen]
    measured: dict[str, list[Score]] = {}
    for scores in (scores for group in groups for scores in group.scores.values()):
        for step, score in scores.items():
            measured.setdefault(step, []).append(score)
    order = _label_order(studies.values())
    steps = tuple(sorted(measured, key=lambda step: (_place(measured[step][0]), order.get(step, -1))))
    base = next((group for group in groups if group.arm == reference), None)
    among = {name: attempts(study, storage, ledgers[name]) for name, study in studies.items()}
    bases = {name: list(with_bases(study, location)) for name, study in studies.items()}
    searched = {name: searched_as(chain) for name, chain in bases.items()}
    rows = []
    for group in groups:
        name = group.study.name
        mine = (other for other in groups if other.study is group.study)
        rival = _control(bases[name], group.arm)
        control = next((other for other in mine if other.arm == rival), None)
        row = _row(group, store, rival, _cells(group, steps, base, control))
        tried = tried_for(row.arm, among[name], store)
        missing = _without_end(ledgers[name], group.trials)
        lost = _lost(ledgers[name], row.arm)
        rows.append(replace(row, tried=tried, searched=searched[name], missing=missing, lost=lost))
    own = {name: [one.name for one in chain] for name, chain in bases.items()}
    more = tried_elsewhere(rows, [group.trials for group in groups], among, own, storage)
    rows = [replace(row, elsewhere=counts) for row, counts in zip(rows, more, strict=True)]
    behind = {one.name: one for chain in bases.values() for one in chain}.values()
    there = {one.name for one in behind}
    named = (score.reported["iou"] for scores in measured.values() for score in scores)
    tested = corrected(rows, steps)
    kinds = [*dict.fromkeys(row.supervision for row in tested if row.supervision or row.status == "done"), ()]
    unfinished = {name: _unfinished(study, storage) for name, study in studies.items()}
    return Comparison(
        rows=tuple(sorted(tested, key=lambda row: kinds.index(row.supervision))),
        steps=steps,
        protocols={step: _protocol(measured[step]) for step in steps},
        baseline=reference,
        per_class=tuple(dict.fromkeys(itertools.chain.from_iterable(named))),
        allowed={one.name: one.data.allow for one in behind if one.data.allow},
        unfair={one.name: dict(one.allow) for one in behind if one.allow},
        unfinished={name: far for name, far in unfinished.items() if far is not None},
        unnamed={one.name: tuple(found) for one in behind if (found := unnamed(one))},
        gone={one.name: one.base.study for one in behind if one.base and one.base.study not in there},
    )


def _without_end(trials: Mapping[str, TrialRecord], group: Sequence[TrialRecord]) -> tuple[int, ...]:
    """Return the seeds of a configuration that failed or were stopped while others came to an end."""
    first = group[0]
    same = (one for one in trials.values() if one.status in ("failed", "stopped"))
    ours = (first.sweep, first.configuration)
    lost = (
        {one.seed for one in same if (one.sweep, one.configuration) == ours} if first.status == "done" else ()
    )
    return tuple(sorted(set(lost) - {trial.seed for trial in group}))


def _lost(trials: Mapping[str, TrialRecord], arm: str) -> dict[str, dict[str, int]]:
    """Return the sweeps in which trials of an arm have ended, and none of them with a result → their ends."""
    ends: dict[str, dict[str, int]] = {}
    for trial in trials.values():
        if trial.arm == arm and trial.status != "started":
            mine = ends.setdefault(trial.sweep, {})
            mine[trial.status] = mine.get(trial.status, 0) + 1
    return {sweep: counts for sweep, counts in ends.items() if "done" not in counts}


def _group(study: Study, trials: Sequence[TrialRecord], storage: Storage) -> _Group:
    declared = _declared(study, trials[0].arm, storage.location)
    scores = {trial.seed: read_scores(trial, storage.store) for trial in trials}
    supervision = supervision_of(trials, storage.store, declared)
    return _Group(study, trials, scores, declared, supervision, made_once(trials, storage.store))


def _cells(
    group: _Group, steps: Sequence[str], base: _Group | None, control: _Group | None
) -> dict[str, Cell]:
    """Return step → cell, with its differences to the baseline and to the control, unless it is these."""
    others = [None if other is group else other for other in (base, control)]
    theirs = [{} if other is None else other.scores for other in others]
    once = [bool(group.once or (other is not None and other.once)) for other in (*others, None)]
    across = [other is not None and other.supervision != group.supervision for other in others]
    cells = cells_of(by_step(group.scores, steps), theirs[0], theirs[1], once)
    return {step: mark_across(cell, *across) for step, cell in cells.items()}


def _unfinished(study: Study, storage: Storage) -> Unfinished | None:
    """Return how far a study is; None at its end."""
    entries = list(storage.ledger(study.name).entries())
    ends = [entry for entry in entries if entry["type"] in ("trial", "kept")][-1:]
    if ends and ends[0]["type"] == "kept" and ends[0]["sweep"] == study.sweeps[-1].name:
        return None  # its last sweep has chosen among its trials
    records = trials_of(entries)
    known = study.base is not None and study.base.study in storage.study_names()
    base = kept_groups(storage.ledger(study.base.study).trials()) if study.base and known else []
    total = max(sum(one.trials for one in planned(study, base)), len(records))
    states = [record.status for record in records.values()]
    done, failed = states.count("done") + states.count("stopped"), states.count("failed")
    return Unfinished(done, total, failed, current_holder(study.name, storage) is not None)


def _declared(study: Study, arm: str, location: Location) -> list[str]:
    """Return what the arms that a row came through declare, those of the studies that this one is based on
    too."""
    names = arm_names(arm)
    sweeps = (sweep for one in with_bases(study, location) for sweep in one.sweeps)
    arms = ((sweep, own) for sweep in sweeps for own in sweep.arms)
    return [
        label
        for sweep, own in arms
        if own.name in names or own.name == sweep.name
        for label in own.supervision
    ]


def _label_order(studies: Iterable[Study]) -> dict[str, int]:
    """Return the place of every stage's label in the chains of studies; a base's stages have none."""
    labels = (use.name for study in studies for _, _, use in study.uses())
    return {label: number for number, label in enumerate(dict.fromkeys(labels))}


def _place(score: Score) -> float:
    how = scored_as(score.content["kind"])
    return math.inf if how is None else how.order


def _protocol(scores: Sequence[Score]) -> Protocol:
    first = scores[0]
    labels = first.part == "report"
    return Protocol(
        kind=first.content["kind"],
        part=first.part,
        images=first.reported["images"],
        labels=labels,
        floor=first.reported.get("floor") if labels else None,
        comparable=all(score.same_images(first) for score in scores),
        chosen_alike=all(score.chosen_on == first.chosen_on for score in scores),
    )


def _control(studies: Sequence[Study], arm: str) -> str:
    """Return the arm that an arm of a study, which comes with its bases, has to beat; through later sweeps,
    that one's end of the same way."""
    first, *later = arm_names(arm)
    for sweep in (sweep for study in studies for sweep in study.sweeps):
        for candidate in sweep.arms:
            if candidate.name == first and candidate.control:
                return MARK.join([candidate.control, *later])
    return ""


def _ledger(storage: Storage, name: str) -> dict[str, TrialRecord]:
    storage.require(name)
    return storage.ledger(name).trials()


def _groups(trials: Mapping[str, TrialRecord]) -> list[list[TrialRecord]]:
    """Return, per arm, its trials of the last sweep that kept any, a group per configuration."""
    groups: list[list[TrialRecord]] = []
    for arm in dict.fromkeys(trial.arm for trial in trials.values()):
        if any(comes_from(other, arm) for other in {t.arm for t in trials.values()}):
            continue  # a later sweep split this arm into named ones
        mine = [trial for trial in trials.values() if trial.arm == arm]
        kept = [trial for trial in mine if trial.kept and trial.status == "done"]
        pool = kept or [trial for trial in mine if trial.status == "done"] or mine
        last = [trial for trial in pool if trial.sweep == pool[-1].sweep]
        by_configuration: dict[str, list[TrialRecord]] = {}
        for trial in last:
            by_configuration.setdefault(trial.configuration, []).append(trial)
        found = list(by_configuration.values())
        # Of an arm without a result one row says so.
        groups.extend(found if pool is not mine else found[:1])
    return groups


def baseline_of(wanted: str | None, trials: Sequence[TrialRecord]) -> str:
    """Return the arm that others are compared with: the one that is wanted, or `baseline`, or plain CAM, or
    the first; of the last two one with a result, if any has one. Raises `ConfigError` for an unknown one."""
    arms = list(dict.fromkeys(trial.arm for trial in trials))
    if wanted is not None:
        if wanted not in arms:
            raise ConfigError(Problem("--baseline", f"no arm is named {wanted!r}", nearest(wanted, arms)))
        return wanted
    ended = [trial for trial in trials if trial.status == "done"] or trials
    plain = [trial.arm for trial in ended if trial.method == "cam"]
    return "baseline" if "baseline" in arms else (plain or [trial.arm for trial in ended] or [""])[0]


def _row(group: _Group, store: Store, control: str, cells: Mapping[str, Cell]) -> Row:
    trials, first = group.trials, group.trials[0]
    networks = networks_of(trials, store)
    return Row(
        group.study.name,
        first.arm,
        first.method,
        first.configuration,
        seeds=tuple(trial.seed for trial in trials),
        params=dict(first.params),
        status=first.status,
        control=control,
        cells=cells,
        networks=networks,
        pixel_labels=pixel_labels(networks, trials, store, group.declared),
        trained_on=trained_on(trials, store),
        smaller=made_smaller(trials, store),
        holdout=holdout(trials),
        holdout_sizes=holdout_sizes(trials),
        trained_really=really_trained_for(trials, store),
        means=means_of(trials, store),
        masks=masks_of(first, store),
        pictures=pictures_of(first, store),
        supervision=group.supervision,
        segments=segments(trials, store),
        trained=trained_for(trials, store),
        foreign=made_elsewhere(trials, store),
        once=group.once,
        processors=processors_of(trials, store),
    )
