"""Methods side by side: one row an arm, one column a step of the chain, from the stored scores.

Every number is read from score artefacts: mIoU on the `report` images at the threshold chosen on
`select`. Intervals come from resampling images (per-image confusion matrices), with the same
resamples for every arm, so that differences are paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wsss.errors import ConfigError, Problem, nearest
from wsss.files import read_json
from wsss.metrics import bootstrap_mious, miou
from wsss.pipeline.ledger import Ledger, TrialRecord
from wsss.pipeline.store import Store
from wsss.pipeline.study import studies_folder

LEVEL = 0.95
SAMPLES = 1000


@dataclass(frozen=True)
class Cell:
    """The score of one arm at one step, as shares in [0, 1]; means over seeds."""

    miou: float
    low: float
    high: float
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    threshold: float | None = None
    at_015: float | None = None
    at_020: float | None = None
    published: float | None = None
    select: float | None = None
    precision: float | None = None
    recall: float | None = None
    per_class: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def significant(self) -> bool:
        """Whether the interval of the difference to the baseline excludes zero."""
        low, high = self.difference_low, self.difference_high
        return low is not None and high is not None and (low > 0 or high < 0)


@dataclass(frozen=True)
class Row:
    """One configuration of an arm. `status` is "done", "failed" or "started"."""

    study: str
    arm: str
    method: str
    configuration: str
    seeds: tuple[int, ...]
    params: Mapping[str, Any]
    status: str
    cells: Mapping[str, Cell]


@dataclass(frozen=True)
class Comparison:
    """`floor` is the mIoU of labelling a centre box with the image's first class, no network used.

    `comparable` is False when the rows were not all scored on the same images of the same classes;
    `images`, `floor` and `per_class` are then those of the first row.
    """

    rows: tuple[Row, ...]
    steps: tuple[str, ...]
    floor: float | None
    images: int
    baseline: str
    per_class: tuple[str, ...]
    comparable: bool = True


def compare(storage: Path, names: Sequence[str], baseline: str | None = None) -> Comparison:
    """Compare the arms of one or more studies on a storage.

    Raises `ConfigError` for an unknown study or baseline.
    """
    store = Store(storage / "store")
    chosen = [(name, group) for name in names for group in _groups(_ledger(storage, name))]
    arms = [group[0].arm for _, group in chosen]
    reference = _baseline(baseline, [group[0] for _, group in chosen])
    loaded = [[_scores(trial, store) for trial in group] for _, group in chosen]
    steps = tuple(dict.fromkeys(step for group in loaded for scores in group for step in scores))
    base = loaded[arms.index(reference)] if reference in arms else []
    rows = tuple(
        _row(name, group, scores, base if scores is not base else [])
        for (name, group), scores in zip(chosen, loaded, strict=True)
    )
    every = [score for group in loaded for scores in group for score in scores.values()]
    reports = [score["json"]["report"] for score in every]
    return Comparison(
        rows,
        steps,
        reports[0]["floor"] if reports else None,
        reports[0]["images"] if reports else 0,
        reference,
        tuple(reports[0]["iou"]) if reports else (),
        all(_same_images(score, every[0]) for score in every),
    )


def _ledger(storage: Path, name: str) -> dict[str, TrialRecord]:
    folder = studies_folder(storage) / name
    if not (folder / "ledger.jsonl").is_file():
        known = sorted(path.parent.name for path in studies_folder(storage).glob("*/ledger.jsonl"))
        hint = nearest(name, known) if known else "the storage has no studies yet"
        raise ConfigError(Problem(str(storage), f"no study is named {name!r}", hint))
    return Ledger(folder).trials()


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
        artefact = store.known(key) if label.endswith(".scores") else None
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
    scores: Sequence[dict[str, dict[str, Any]]],
    base: Sequence[dict[str, dict[str, Any]]],
) -> Row:
    first = group[0]
    cells = {}
    for step in dict.fromkeys(step for one in scores for step in one):
        mine = [one[step] for one in scores if step in one]
        theirs = [one[step] for one in base if step in one]
        cells[step] = _cell(mine, theirs)
    return Row(
        study,
        first.arm,
        first.method,
        first.configuration,
        tuple(trial.seed for trial in group),
        dict(first.params),
        first.status,
        cells,
    )


def _cell(mine: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]) -> Cell:
    values, draws = _resampled(mine)
    low, high = np.nanquantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    difference: tuple[float | None, float | None, float | None] = (None, None, None)
    if theirs and _same_images(theirs[0], mine[0]):
        their_values, their_draws = _resampled(theirs)
        bounds = np.nanquantile(draws - their_draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        difference = (values - their_values, float(bounds[0]), float(bounds[1]))
    parts = [one["json"] for one in mine]

    def mean(part: str, name: str) -> float | None:
        numbers = [json[part][name] for json in parts if json.get(part, {}).get(name) is not None]
        return float(np.mean(numbers)) if numbers else None

    names = list(parts[0]["report"]["iou"])
    return Cell(
        values,
        float(low),
        float(high),
        *difference,
        threshold=mean("report", "threshold"),
        at_015=mean("report", "miou_at_0.15"),
        at_020=mean("report", "miou_at_0.20"),
        published=mean("published", "miou"),
        select=mean("select", "miou"),
        precision=mean("report", "precision"),
        recall=mean("report", "recall"),
        per_class={
            name: _mean_or_none([json["report"]["iou"].get(name) for json in parts]) for name in names
        },
    )


def _resampled(scores: Sequence[dict[str, Any]]) -> tuple[float, np.ndarray]:
    """Return the mean mIoU over seeds and float64[SAMPLES] of it on resampled images.

    NaN are resamples in which everything is ignored.
    """
    values = float(np.mean([miou(one["report"].sum(0)) for one in scores]))
    draws = np.mean([bootstrap_mious(one["report"], seed=0, samples=SAMPLES) for one in scores], axis=0)
    return values, draws


def _mean_or_none(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return float(np.mean(numbers)) if numbers else None
