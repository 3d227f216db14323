"""Methods side by side: one row an arm, one column a step of the chain, from the stored scores.

Every number is read from score artefacts: mIoU on the `report` images at the threshold chosen on
`select`, or, of networks that are given no labels, on the `test` images. Intervals come from
resampling images (per-image confusion matrices), with the same resamples for every arm, so that
differences are paired.
"""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from wsss.config import Study
from wsss.config.stage import scored_as
from wsss.config.text.location import Location
from wsss.errors import ConfigError, Problem, nearest
from wsss.metrics import bootstrap_mious, estimate, holm, miou
from wsss.pipeline.chains.chain import SCORES_FILE
from wsss.pipeline.past.stored_studies import find_study
from wsss.pipeline.past.tried import attempts, tried_for
from wsss.report.comparison import LEVEL, Cell, Comparison, Difference, Protocol, Row
from wsss.report.origins import (
    kind_of,
    made_smaller,
    networks_of,
    pixel_labels,
    processors_of,
    supervision_of,
    trained_on,
)
from wsss.store.folder_store import Store
from wsss.store.ledger import TrialRecord
from wsss.store.storage import Storage, open_storage

Score = Mapping[str, Any]
Scores = Mapping[str, Score]
SAMPLES = 1000


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
    loaded = [[_scores(trial, store) for trial in group] for _, group in chosen]
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
    labels = [
        supervision_of(group, store, _declared(studies[name], group[0].arm, location))
        for name, group in chosen
    ]
    rows = []
    for number, (name, group) in enumerate(chosen):
        control = _control(studies[name], group[0].arm)
        place = places.get((name, control), number)
        base = by_seed[first] if first not in (-1, number) else {}
        others = by_seed[place] if place != number else {}
        cells = _cells(_by_step(by_seed[number], steps), base, others)
        across = tuple(labels[other] != labels[number] for other in (max(first, 0), place))
        cells = {step: _mark_across(cell, *across) for step, cell in cells.items()}
        row = _row(name, group, store, control, cells)
        rows.append(replace(row, tried=tried_for(row.arm, among[name], store), supervision=labels[number]))
    named = (_reported(score)["iou"] for scores in measured.values() for score in scores)
    corrected = _corrected(rows, steps)
    groups = list(dict.fromkeys(row.supervision for row in corrected))
    return Comparison(
        tuple(sorted(corrected, key=lambda row: groups.index(row.supervision))),
        steps,
        {step: _protocol(measured[step]) for step in steps},
        reference,
        tuple(dict.fromkeys(itertools.chain.from_iterable(named))),
        {name: study.data.allow for name, study in studies.items() if study.data.allow},
        {name: dict(study.allow) for name, study in studies.items() if study.allow},
    )


def _declared(study: Study, arm: str, location: Location) -> list[str]:
    """Return what the arms that a row came through declare, those of the studies that this one is based on
    too."""
    names, found = set(arm.split("+")), list[str]()
    seen: set[str] = set()
    while study.name not in seen:
        seen.add(study.name)
        for sweep in study.sweeps:
            for own in sweep.arms:
                if own.name in names or own.name == sweep.name:
                    found += own.supervision
        if study.base is None or study.base.study not in open_storage(location).study_names():
            break
        study = find_study(study.base.study, location)
    return found


def _mark_across(cell: Cell, baseline: bool, control: bool) -> Cell:
    """Return a cell whose differences say whether they are to a row that rests on other kinds of labels."""
    one, other = cell.to_baseline, cell.to_control
    return replace(
        cell,
        to_baseline=one and replace(one, across=baseline),
        to_control=other and replace(other, across=control),
    )


def _label_order(studies: Iterable[Study]) -> dict[str, int]:
    """Return the place of every stage's label in the chains of studies; a base's stages have none."""
    sweeps = (sweep for study in studies for sweep in study.sweeps)
    labels = (use.name or use.stage for sweep in sweeps for arm in sweep.arms for use in arm.stages)
    return {label: number for number, label in enumerate(dict.fromkeys(labels))}


def _place(score: Score) -> float:
    how = scored_as(score["json"]["kind"])
    return math.inf if how is None else how.order


def _reported(score: Score) -> Mapping[str, Any]:
    """Return the part of a score that is reported."""
    found: Mapping[str, Any] = score["json"][score["part"]]
    return found


def _protocol(scores: Sequence[Score]) -> Protocol:
    first = scores[0]
    labels = first["part"] == "report"
    return Protocol(
        first["json"]["kind"],
        first["part"],
        _reported(first)["images"],
        labels,
        _reported(first).get("floor") if labels else None,
        all(_same_images(score, first) for score in scores),
    )


def _control(study: Study, arm: str) -> str:
    """Return the arm that an arm has to beat; through later sweeps, that one's end of the same way."""
    own, _, later = arm.partition("+")
    for sweep in study.sweeps:
        for candidate in sweep.arms:
            if candidate.name == own and candidate.control:
                return f"{candidate.control}+{later}" if later else candidate.control
    return ""


def _ledger(storage: Storage, name: str) -> dict[str, TrialRecord]:
    storage.require(name)
    return storage.ledger(name).trials()


def _groups(trials: Mapping[str, TrialRecord]) -> list[list[TrialRecord]]:
    """Return, per arm, its trials of the last sweep that kept any, a group per configuration."""
    groups: list[list[TrialRecord]] = []
    for arm in dict.fromkeys(trial.arm for trial in trials.values()):
        if any(other.startswith(f"{arm}+") for other in {t.arm for t in trials.values()}):
            continue  # a later sweep split this arm into named ones
        mine = [trial for trial in trials.values() if trial.arm == arm]
        kept = [trial for trial in mine if trial.kept and trial.status == "done"]
        pool = kept or [trial for trial in mine if trial.status == "done"] or mine
        last = [trial for trial in pool if trial.sweep == pool[-1].sweep]
        by_configuration: dict[str, list[TrialRecord]] = {}
        for trial in last:
            by_configuration.setdefault(trial.configuration, []).append(trial)
        groups.extend(by_configuration.values())
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


def _scores(trial: TrialRecord, store: Store) -> dict[str, dict[str, Any]]:
    """Return step → {"json": scores.json, "part": "report" or "test", "counts": int32[N, C+1, C+1] of that
    part, "ids": N ids} of a trial."""
    found: dict[str, dict[str, Any]] = {}
    for label, key in trial.keys.items():
        content = store.read_json(key, SCORES_FILE) if label.endswith(".scores") else None
        confusions = None if content is None else store.read(key, "confusions.npz")
        if content is None or confusions is None:
            continue
        part = "report" if "report" in content else "test"
        with np.load(io.BytesIO(confusions), allow_pickle=False) as arrays:
            counts, ids = arrays[part], arrays[f"{part}_ids"].tolist()
        step = label.removesuffix(".scores")
        found[step] = {"json": content, "part": part, "counts": counts, "ids": ids}
    return found


def _holdout(group: Sequence[TrialRecord]) -> dict[str, float]:
    """Return classifier → mean hold-out mAP of a configuration's seeds."""
    ending = "/holdout/mAP"
    names = dict.fromkeys(name for trial in group for name in trial.metrics if name.endswith(ending))
    return {
        name.removesuffix(ending): float(np.mean([t.metrics[name] for t in group if name in t.metrics]))
        for name in names
    }


def _holdout_sizes(group: Sequence[TrialRecord]) -> dict[str, tuple[int, ...]]:
    """Return classifier → the long sides, in pixels, at which its mAP was measured, ascending."""
    sizes: dict[str, set[int]] = {}
    for trial in group:
        for name, value in trial.metrics.items():
            if name.endswith("/holdout/size"):
                sizes.setdefault(name.removesuffix("/holdout/size"), set()).add(int(value))
    return {name: tuple(sorted(found)) for name, found in sizes.items()}


def _masks(trial: TrialRecord, store: Store) -> dict[str, str]:
    found = {label: store.known(key) for label, key in trial.keys.items()}
    return {
        label: str(artefact.folder)
        for label, artefact in found.items()
        if artefact is not None
        and (how := scored_as(kind_of(artefact))) is not None
        and how.files == "masks"
        and not artefact.evicted
    }


def _same_images(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two scores are of the same part, images, classes and masks, so that they may be compared.

    What a mask holds of each class is what its confusions' rows add up to, whatever was predicted.
    """
    same = (
        all(one[name] == other[name] for name in ("part", "ids"))
        and one["json"]["classes"] == other["json"]["classes"]
    )
    return bool(same and np.array_equal(one["counts"].sum(-1), other["counts"].sum(-1)))


def _by_step(scores: Mapping[int, Scores], steps: Sequence[str]) -> dict[str, dict[int, Score]]:
    """Return step → seed → score, of the steps that any seed has, in order."""
    found = {step: {seed: one[step] for seed, one in scores.items() if step in one} for step in steps}
    return {step: mine for step, mine in found.items() if mine}


def _cells(
    mine: Mapping[str, Mapping[int, Score]], base: Mapping[int, Scores], controls: Mapping[int, Scores]
) -> dict[str, Cell]:
    """Return step → cell; a step's `to_before` is against the step that comes before it."""
    cells = {}
    before: Mapping[int, Score] = {}
    for step, scores in mine.items():
        base_step, controls_step = (_by_step(them, [step]).get(step, {}) for them in (base, controls))
        cells[step] = _cell(scores, base_step, controls_step, before)
        before = scores
    return cells


def _row(
    study: str, group: Sequence[TrialRecord], store: Store, control: str, cells: Mapping[str, Cell]
) -> Row:
    first = group[0]
    networks = networks_of(group, store)
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
        networks=networks,
        pixel_labels=pixel_labels(networks, group, store),
        trained_on=trained_on(group, store),
        smaller=made_smaller(group, store),
        holdout=_holdout(group),
        holdout_sizes=_holdout_sizes(group),
        masks=_masks(first, store),
        processors=processors_of(group, store),
    )


def _cell(
    mine: Mapping[int, Score],
    base: Mapping[int, Score],
    controls: Mapping[int, Score],
    before: Mapping[int, Score],
) -> Cell:
    scores = list(mine.values())
    parts = [one["json"] for one in scores]
    values, draws = _resampled(scores)
    low, high, _ = estimate(values, draws, level=LEVEL)

    reported = [_reported(one) for one in scores]

    def of_part(part: str, name: str) -> float | None:
        return _mean_or_none([json.get(part, {}).get(name) for json in parts])

    def mean(name: str) -> float | None:
        return _mean_or_none([part.get(name) for part in reported])

    return Cell(
        float(values.mean()),
        low,
        high,
        _difference(mine, base),
        _difference(mine, controls),
        _difference(mine, before),
        threshold=mean("threshold"),
        at_015=mean("miou_at_0.15"),
        at_020=mean("miou_at_0.20"),
        published=of_part("published", "miou"),
        area=mean("area"),
        pxap=mean("pxap"),
        select=of_part("select", "miou"),
        precision=mean("precision"),
        recall=mean("recall"),
        boundary_f=mean("boundary_f"),
        false_positive=mean("false_positive"),
        false_negative=mean("false_negative"),
        confused=mean("confused"),
        per_class={
            name: _mean_or_none([part["iou"].get(name) for part in reported]) for name in reported[0]["iou"]
        },
    )


def _difference(mine: Mapping[int, Score], theirs: Mapping[int, Score]) -> Difference | None:
    """Return the difference, None between scores of different images. Paired by image, and by seed as far
    as both have it; without a seed in common, the means over seeds are compared and the seeds' own
    spread is left out."""
    if not theirs or not _same_images(next(iter(theirs.values())), next(iter(mine.values()))):
        return None
    common = [seed for seed in mine if seed in theirs]
    if common:
        values, draws = _resampled([mine[seed] for seed in common])
        their_values, their_draws = _resampled([theirs[seed] for seed in common])
    else:
        values, draws = (part.mean(0, keepdims=True) for part in _resampled(list(mine.values())))
        their_values, their_draws = (
            part.mean(0, keepdims=True) for part in _resampled(list(theirs.values()))
        )
    low, high, p = estimate(values - their_values, draws - their_draws, level=LEVEL)
    return Difference(float((values - their_values).mean()), low, high, p, seeds=len(common))


def _corrected(rows: Sequence[Row], steps: Sequence[str]) -> tuple[Row, ...]:
    """Return the rows with p-values adjusted for the number of differences at each step that are tested
    (Holm)."""
    result = list(rows)
    for step, to in itertools.product(steps, ("to_baseline", "to_control", "to_before")):
        found = {n: getattr(row.cells[step], to) for n, row in enumerate(result) if step in row.cells}
        found = {
            n: difference for n, difference in found.items() if difference is not None and difference.tested
        }
        adjusted = holm([difference.p for difference in found.values()])
        for (n, difference), p in zip(found.items(), adjusted, strict=True):
            cell = replace(result[n].cells[step], **{to: replace(difference, p_adjusted=p)})
            result[n] = replace(result[n], cells={**result[n].cells, step: cell})
    return tuple(result)


def _resampled(scores: Sequence[Score]) -> tuple[np.ndarray, np.ndarray]:
    """Return float64[S], the mIoU of each seed, and float64[S, SAMPLES] of it on resampled images.

    The resamples are the same for every seed and arm. NaN are those in which everything is ignored.
    """
    values = np.array([miou(one["counts"].sum(0)) for one in scores])
    draws = np.stack([bootstrap_mious(one["counts"], seed=0, samples=SAMPLES) for one in scores])
    return values, draws


def _mean_or_none(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return float(np.mean(numbers)) if numbers else None
