"""What choosing by other scores than the true one would have cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wsss.config.naming import HOLDOUT_MAP, SELECT_MIOU
from wsss.metrics.intervals import bootstrap_of_marginals
from wsss.report.cells import SAMPLES
from wsss.report.comparison import LEVEL

if TYPE_CHECKING:
    from wsss.report.tuned.configurations import Configuration, Run

FIXED = 20
"""The threshold, in hundredths, of maps where nothing says a better one."""


@dataclass(frozen=True)
class Selected:
    """The configuration that a score `by` chooses, and what it reports, as shares in [0, 1].

    `lost` is the reported score of what `select` masks choose minus this one, with its 95 % interval over
    reported images. `masks` says whether the score looks at masks. Where it doesn't, nor does the threshold:
    it is the one that the score brings along, or 0.2.
    """

    by: str
    configuration: str
    masks: bool
    score: float
    lost: float
    low: float
    high: float


def selections(tried: Sequence[Configuration]) -> tuple[Selected, ...]:
    """Return, for each score that all configurations have, what choosing by it would have reported; the true
    one first. Ties go to the first."""
    scored = [one for one in tried if one.runs and not np.isnan(one.select)]
    if not scored or any(run.ids != scored[0].runs[0].ids for one in scored for run in one.runs):
        return ()
    best = max(scored, key=lambda one: one.select)
    truth = _resampled(best, None)
    found = []
    for name, masks in _names(scored):
        values = [_mean(one, name) for one in scored]
        chosen = scored[int(np.argmax(values))]
        places = None if masks else [_place(run, name) for run in chosen.runs]
        mine = _resampled(chosen, places)
        low, high = np.nanquantile(truth[1] - mine[1], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        lost = truth[0] - mine[0]
        found.append(Selected(name, chosen.name, masks, mine[0], lost, float(low), float(high)))
    return tuple(found)


def _names(scored: Sequence[Configuration]) -> Iterator[tuple[str, bool]]:
    """Iterate over the scores that trials may be ranked by and all have, and whether they look at masks."""
    metrics = [run.trial.metrics for one in scored for run in one.runs]
    common = [name for name in metrics[0] if all(name in other for other in metrics)]
    for masks, endings in ((True, (f"/{SELECT_MIOU}", "/select/area", "/select/pxap")), (False, PROXIES)):
        for name in common:
            if name.endswith(endings):
                yield name, masks


PROXIES = (f"/{HOLDOUT_MAP}", "/agreement/miou")
"""Scores that look at no mask."""


def _mean(one: Configuration, name: str) -> float:
    return float(np.mean([run.trial.metrics[name] for run in one.runs]))


def _place(run: Run, name: str) -> int:
    """Return the number of the threshold that a score without masks brings along, else that of 0.2."""
    if run.thresholds == 1:
        return run.place
    own = run.trial.metrics.get(name.removesuffix("/miou") + "/threshold")
    return min(FIXED if own is None else round(100 * own), run.thresholds - 1)


def _resampled(one: Configuration, places: Sequence[int] | None) -> tuple[float, np.ndarray]:
    """Return the reported score at given thresholds (None: those chosen on `select`), and its resamples."""
    scores, draws = [], []
    for number, run in enumerate(one.runs):
        place = run.place if places is None else places[number]
        counts = run.report
        curve = counts.mious(np.ones((1, len(counts.true))))[0]
        marginals = (counts.hits[:, place], counts.true, counts.predicted[:, place])
        scores.append(float(curve[place]))
        draws.append(bootstrap_of_marginals(*marginals, seed=0, samples=SAMPLES))
    return float(np.mean(scores)), np.mean(draws, axis=0)
