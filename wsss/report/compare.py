"""Methods side by side: one row an arm, one column a step of the chain, from the stored scores.

Every number is read from score artefacts: mIoU on the `report` images at the threshold chosen on
`select`. Intervals come from resampling images (per-image confusion matrices), with the same
resamples for every arm, so that differences are paired.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from wsss.config import Study
from wsss.config.location import Location
from wsss.errors import ConfigError, Problem, nearest
from wsss.files import read_json
from wsss.metrics import bootstrap_mious, estimate, holm, miou
from wsss.pipeline.ledger import TrialRecord
from wsss.pipeline.storage import Storage, open_storage
from wsss.pipeline.store import Store
from wsss.pipeline.study import find_study
from wsss.report.comparison import LEVEL, Cell, Comparison, Difference, Row

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
    reference = _baseline(baseline, [group[0] for _, group in chosen])
    loaded = [[_scores(trial, store) for trial in group] for _, group in chosen]
    by_seed = [
        {trial.seed: one for trial, one in zip(group, scores, strict=True)}
        for (_, group), scores in zip(chosen, loaded, strict=True)
    ]
    steps = tuple(dict.fromkeys(step for group in loaded for scores in group for step in scores))
    first = min((place for (_, arm), place in places.items() if arm == reference), default=-1)
    rows = []
    for number, (name, group) in enumerate(chosen):
        control = _control(studies[name], group[0].arm)
        place = places.get((name, control), number)
        base = by_seed[first] if first not in (-1, number) else {}
        rows.append(
            _row(name, group, loaded[number], base, control, by_seed[place] if place != number else {})
        )
    every = [score for group in loaded for scores in group for score in scores.values()]
    reports = [score["json"]["report"] for score in every]
    return Comparison(
        _corrected(rows, steps),
        steps,
        reports[0]["floor"] if reports else None,
        reports[0]["images"] if reports else 0,
        reference,
        tuple(reports[0]["iou"]) if reports else (),
        all(_same_images(score, every[0]) for score in every),
        {name: study.data.allow for name, study in studies.items() if study.data.allow},
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


def _baseline(wanted: str | None, trials: Sequence[TrialRecord]) -> str:
    arms = list(dict.fromkeys(trial.arm for trial in trials))
    if wanted is not None:
        if wanted not in arms:
            raise ConfigError(Problem("--baseline", f"no arm is named {wanted!r}", nearest(wanted, arms)))
        return wanted
    plain = [trial.arm for trial in trials if trial.method == "cam"]
    return "baseline" if "baseline" in arms else (plain or arms or [""])[0]


def _scores(trial: TrialRecord, store: Store) -> dict[str, dict[str, Any]]:
    """Return step → {"json": scores.json, "report": int32[N, C+1, C+1], "ids": N ids} of a trial."""
    found: dict[str, dict[str, Any]] = {}
    for label, key in trial.keys.items():
        artefact = store.get(key) if label.endswith(".scores") else None
        if artefact is None:
            continue
        with np.load(artefact.folder / "confusions.npz", allow_pickle=False) as arrays:
            report, ids = arrays["report"], arrays["report_ids"].tolist()
        step = label.removesuffix(".scores")
        found[step] = {"json": read_json(artefact.folder / "scores.json"), "report": report, "ids": ids}
    return found


def _same_images(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two scores are of the same images, classes and masks, so that they may be compared.

    What a mask holds of each class is what its confusions' rows add up to, whatever was predicted.
    """
    same = one["ids"] == other["ids"] and one["json"]["classes"] == other["json"]["classes"]
    return bool(same and np.array_equal(one["report"].sum(-1), other["report"].sum(-1)))


def _row(
    study: str,
    group: Sequence[TrialRecord],
    scores: Sequence[Scores],
    base: Mapping[int, Scores],
    control: str,
    controls: Mapping[int, Scores],
) -> Row:
    first = group[0]
    cells = {}
    for step in dict.fromkeys(step for one in scores for step in one):
        mine = {t.seed: one[step] for t, one in zip(group, scores, strict=True) if step in one}
        others = [{seed: one[step] for seed, one in them.items() if step in one} for them in (base, controls)]
        cells[step] = _cell(mine, *others)
    return Row(
        study,
        first.arm,
        first.method,
        first.configuration,
        tuple(trial.seed for trial in group),
        dict(first.params),
        first.status,
        control,
        cells,
    )


def _cell(mine: Mapping[int, Score], base: Mapping[int, Score], controls: Mapping[int, Score]) -> Cell:
    parts = [one["json"] for one in mine.values()]
    values, draws = _resampled(list(mine.values()))
    low, high, _ = estimate(values, draws, level=LEVEL)

    def mean(part: str, name: str) -> float | None:
        numbers = [json[part][name] for json in parts if json.get(part, {}).get(name) is not None]
        return float(np.mean(numbers)) if numbers else None

    names = list(parts[0]["report"]["iou"])
    return Cell(
        float(values.mean()),
        low,
        high,
        _difference(mine, base),
        _difference(mine, controls),
        threshold=mean("report", "threshold"),
        at_015=mean("report", "miou_at_0.15"),
        at_020=mean("report", "miou_at_0.20"),
        published=mean("published", "miou"),
        select=mean("select", "miou"),
        precision=mean("report", "precision"),
        recall=mean("report", "recall"),
        boundary_f=mean("report", "boundary_f"),
        false_positive=mean("report", "false_positive"),
        false_negative=mean("report", "false_negative"),
        confused=mean("report", "confused"),
        per_class={
            name: _mean_or_none([json["report"]["iou"].get(name) for json in parts]) for name in names
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
    return Difference(float((values - their_values).mean()), low, high, p)


def _corrected(rows: Sequence[Row], steps: Sequence[str]) -> tuple[Row, ...]:
    """Return the rows with p-values adjusted for the number of differences at each step (Holm)."""
    result = list(rows)
    for step, to in itertools.product(steps, ("to_baseline", "to_control")):
        found = {n: getattr(row.cells[step], to) for n, row in enumerate(result) if step in row.cells}
        found = {n: difference for n, difference in found.items() if difference is not None}
        adjusted = holm([difference.p for difference in found.values()])
        for (n, difference), p in zip(found.items(), adjusted, strict=True):
            cell = replace(result[n].cells[step], **{to: replace(difference, p_adjusted=p)})
            result[n] = replace(result[n], cells={**result[n].cells, step: cell})
    return tuple(result)


def _resampled(scores: Sequence[Score]) -> tuple[np.ndarray, np.ndarray]:
    """Return float64[S], the mIoU of each seed, and float64[S, SAMPLES] of it on resampled images.

    The resamples are the same for every seed and arm. NaN are those in which everything is ignored.
    """
    values = np.array([miou(one["report"].sum(0)) for one in scores])
    draws = np.stack([bootstrap_mious(one["report"], seed=0, samples=SAMPLES) for one in scores])
    return values, draws


def _mean_or_none(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return float(np.mean(numbers)) if numbers else None
