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
from dataclasses import replace

from wsss.config import Study
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
    made_smaller,
    networks_of,
    pixel_labels,
    processors_of,
    segments,
    supervision_of,
    trained_for,
    trained_on,
)
from wsss.report.readings import (
    Score,
    holdout,
    holdout_sizes,
    masks_of,
    pictures_of,
    read_scores,
)
from wsss.store.folder_store import Store
from wsss.store.ledger import TrialRecord, trials_of
from wsss.store.storage import Storage, open_storage


def compare(location: Location, names: Sequence[str], baseline: str | None = None) -> Comparison:
    """Compare the arms of one or more studies on a storage.

    Raises `ConfigError` for an unknown study or baseline.
    """
    storage = open_storage(location)
    store = storage.store
    chosen = [(name, group) for name in names for group in _groups(_ledger(storage, name))]
    studies = {name: find_study(name, location) for name in names}
    places = {(name, group[0].arm): number for number, (name, group) in reversed([*enumerate(chosen)])}
    reference = baseline_of(baseline, [group[0] for _, group in chosen])
    loaded = [[read_scores(trial, store) for trial in group] for _, group in chosen]
    by_seed = [
        {trial.seed: one for trial, one in zip(group, scores, strict=True)}
        for (_, group), scores in zip(chosen, loaded, strict=True)
    ]
    measured: dict[str, list[Score]] = {}
    for scores in itertools.chain.from_iterable(loaded):
        for step, score in scores.items():
            measured.setdefault(step, []).append(score)
    order = _label_order(studies.values())
    steps = tuple(sorted(measured, key=lambda step: (_place(measured[step][0]), order.get(step, -1))))
    first = min((place for (_, arm), place in places.items() if arm == reference), default=-1)
    among = {name: attempts(study, storage) for name, study in studies.items()}
    declared = [_declared(studies[name], group[0].arm, location) for name, group in chosen]
    labels = [supervision_of(group, store, given) for (_, group), given in zip(chosen, declared, strict=True)]
    rows = []
    for number, (name, group) in enumerate(chosen):
        control = _control(studies[name], group[0].arm)
        place = places.get((name, control), number)
        base = by_seed[first] if first not in (-1, number) else {}
        others = by_seed[place] if place != number else {}
        cells = cells_of(by_step(by_seed[number], steps), base, others)
        across = tuple(labels[other] != labels[number] for other in (max(first, 0), place))
        cells = {step: mark_across(cell, *across) for step, cell in cells.items()}
        row = replace(_row(name, group, store, control, cells), supervision=labels[number])
        seen = pixel_labels(row.networks, group, store, declared[number])
        rows.append(replace(row, tried=tried_for(row.arm, among[name], store), pixel_labels=seen))
    behind = {one.name: one for study in studies.values() for one in with_bases(study, location)}.values()
    named = (score.reported["iou"] for scores in measured.values() for score in scores)
    tested = corrected(rows, steps)
    groups = list(dict.fromkeys(row.supervision for row in tested))
    return Comparison(
        tuple(sorted(tested, key=lambda row: groups.index(row.supervision))),
        steps,
        {step: _protocol(measured[step]) for step in steps},
        reference,
        tuple(dict.fromkeys(itertools.chain.from_iterable(named))),
        {one.name: one.data.allow for one in behind if one.data.allow},
        {one.name: dict(one.allow) for one in behind if one.allow},
        {name: far for name, study in studies.items() if (far := _unfinished(study, storage)) is not None},
    )


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


def _control(study: Study, arm: str) -> str:
    """Return the arm that an arm has to beat; through later sweeps, that one's end of the same way."""
    first, *later = arm_names(arm)
    for sweep in study.sweeps:
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
    the first. Raises `ConfigError` for an unknown one."""
    arms = list(dict.fromkeys(trial.arm for trial in trials))
    if wanted is not None:
        if wanted not in arms:
            raise ConfigError(Problem("--baseline", f"no arm is named {wanted!r}", nearest(wanted, arms)))
        return wanted
    plain = [trial.arm for trial in trials if trial.method == "cam"]
    return "baseline" if "baseline" in arms else (plain or arms or [""])[0]


def _row(
    study: str, group: Sequence[TrialRecord], store: Store, control: str, cells: Mapping[str, Cell]
) -> Row:
    first = group[0]
    return Row(
        study,
        first.arm,
        first.method,
        first.configuration,
        seeds=tuple(trial.seed for trial in group),
        params=dict(first.params),
        status=first.status,
        control=control,
        cells=cells,
        networks=networks_of(group, store),
        trained_on=trained_on(group, store),
        smaller=made_smaller(group, store),
        segments=segments(group, store),
        trained=trained_for(group, store),
        foreign=made_elsewhere(group, store),
        holdout=holdout(group),
        holdout_sizes=holdout_sizes(group),
        masks=masks_of(first, store),
        pictures=pictures_of(first, store),
        processors=processors_of(group, store),
    )
