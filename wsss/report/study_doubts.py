"""What speaks against the results of a study: every row of its comparison, every step of its chain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss.config.stage import STAGES, Scored, scored_as
from wsss.config.text.location import Location
from wsss.data.view import DataView
from wsss.masks.census import MaskCensus, census_of
from wsss.report.comparison import Comparison, Row
from wsss.report.doubts import (
    Doubt,
    Maker,
    agreement_doubts,
    classifier_doubts,
    floor_doubts,
    mask_doubts,
    share_line,
    threshold_doubts,
)
from wsss.report.origins import kind_of
from wsss.report.words.titles import step_title
from wsss.stages.step_metrics import HOLDOUT_FLOOR, HOLDOUT_MIOU, MAP
from wsss.store.artefact import Artefact
from wsss.store.storage import open_storage

MOST_READ = 256
"""Mask files that are looked at, over all rows and steps."""
LEAST_READ = 12
"""Of those of one step of one row."""
SHOWN = 6
"""Rows whose shares are printed, and doubts; the others are counted."""


@dataclass(frozen=True)
class RowMasks:
    """The masks that one step of an arm made."""

    arm: str
    step: str
    census: MaskCensus


@dataclass(frozen=True)
class RowDoubt:
    """What speaks against one step of an arm."""

    arm: str
    step: str
    doubt: Doubt


@dataclass(frozen=True)
class Examined:
    """What was found of a study: the masks of each row, and what speaks against its results."""

    masks: tuple[RowMasks, ...]
    doubts: tuple[RowDoubt, ...]

    def lines(self) -> list[str]:
        """Return what `run` prints: class shares of each row's last masks, and the doubts, those of several
        rows that call for the same in one line."""
        last = {one.arm: one for one in self.masks}
        shown = list(last.values())[:SHOWN]
        lines = [f"Shares in {step_title(one.step)}s of {one.arm}: {share_line(one.census)}" for one in shown]
        alike: dict[tuple[str, str], list[RowDoubt]] = {}
        for one in self.doubts:
            alike.setdefault((one.step, one.doubt.advice), []).append(one)
        texts = [f"warning: {_arms(found)}, {step}: {found[0].doubt}" for (step, _), found in alike.items()]
        more = [f"… and {len(texts) - SHOWN} more warnings"] if len(texts) > SHOWN else []
        return [*lines, *texts[:SHOWN], *more]

    def as_json(self) -> dict[str, Any]:
        """Return the same as JSON values: shares in [0, 1]."""
        return {
            "shares": [{"arm": one.arm, "step": one.step, **_counts(one.census)} for one in self.masks],
            "warnings": [
                {"arm": one.arm, "step": one.step, "found": one.doubt.found, "next": one.doubt.advice}
                for one in self.doubts
            ],
        }


def _arms(found: list[RowDoubt]) -> str:
    """Return the arm whose words are shown, and the others."""
    first, *others = dict.fromkeys(one.arm for one in found)
    return f"{first} (and {', '.join(others)})" if others else first


def _counts(census: MaskCensus) -> dict[str, Any]:
    return {"masks": census.photos, "empty": census.empty, "boxes": census.boxes, "shares": census.shares}


def examine(comparison: Comparison, location: Location, data: DataView) -> Examined:
    """Look at the networks and masks of the finished rows of one study, those of each row's first seed.

    Args:
        comparison: of the study.
        location: its storage.
        data: the images of the study.
    """
    storage = open_storage(location)
    rows = [row for row in comparison.rows if row.status == "done"]
    trials = {name: storage.ledger(name).trials() for name in {row.study for row in rows}}
    made: list[tuple[str, str, Artefact]] = []
    for row in rows:
        trial = row.first_trial(trials[row.study])
        keys = {} if trial is None else trial.keys
        known = {label: storage.store.known(key) for label, key in keys.items()}
        chain = {label: artefact for label, artefact in known.items() if artefact is not None}
        made += [(row.arm, label, chain[label]) for label in _in_order(chain)]
    masks = tuple(_all_masks(made, data))
    looked_at = {(one.arm, one.step): one for one in masks}
    doubts = []
    for arm, label, artefact in made:  # in the order of the chain: what comes first spoils the rest
        mine = _of_network(artefact, data)
        mine += _of_masks(looked_at.get((arm, label)), artefact)
        mine += [doubt for row in rows if row.arm == arm for doubt in _of_scores(row, label, comparison)]
        doubts += [RowDoubt(arm, label, doubt) for doubt in mine]
    return Examined(masks, tuple(dict.fromkeys(doubts)))


def _in_order(chain: Mapping[str, Artefact]) -> list[str]:
    """Return the labels of a chain's artefacts, what is read before what reads it."""
    by_key = {artefact.key: artefact for artefact in chain.values()}

    def depth(artefact: Artefact) -> int:
        keys = [source["key"] for source in (artefact.record.get("inputs") or {}).values()]
        return 1 + max((depth(by_key[key]) for key in keys if key in by_key), default=0)

    return sorted(chain, key=lambda label: depth(chain[label]))


def _all_masks(made: list[tuple[str, str, Artefact]], data: DataView) -> Iterator[RowMasks]:
    """Iterate over the masks that are on this machine; artefacts that rows share are read once."""
    wanted = [(arm, label, one, how) for arm, label, one in made if (how := _as_masks(one)) is not None]
    most = max(LEAST_READ, MOST_READ // max(1, len(wanted)))
    censuses: dict[str, MaskCensus] = {}
    for arm, label, artefact, how in wanted:
        if artefact.key not in censuses:
            paths = _files(artefact, how, data)
            censuses[artefact.key] = census_of(paths, data.dataset.classes, most)
        if censuses[artefact.key].photos:
            yield RowMasks(arm, label, censuses[artefact.key])


def _as_masks(artefact: Artefact) -> Scored | None:
    how = scored_as(kind_of(artefact))
    return how if how is not None and how.files == "masks" and not artefact.evicted else None


def _files(artefact: Artefact, how: Scored, data: DataView) -> list[Path]:
    """Return the mask files that are on this machine; of masks that labels have helped, those of photos with
    a label: only they have to show an object."""
    names = sorted(name for name in artefact.record["files"] if name.endswith(".png") and "/" not in name)
    if how.on == "report":
        known = set(data.labelled_ids)
        ids = [id for name in names if (id := name.removesuffix(".png")) in known]
        labels = data.dataset.labels(ids) if ids else ()
        names = [f"{id}.png" for id, row in zip(ids, labels, strict=True) if row.any()]
    return [path for name in names if (path := artefact.folder / name).is_file()]


def _of_network(artefact: Artefact, data: DataView) -> list[Doubt]:
    """Return what the last epoch of a training says against its network."""
    last = (artefact.record.get("history") or [{}])[-1]
    if MAP in last and data.holdout:
        return classifier_doubts(last[MAP], data.dataset.labels(data.holdout))
    if HOLDOUT_MIOU in last and HOLDOUT_FLOOR in last:
        return agreement_doubts(last[HOLDOUT_MIOU], last[HOLDOUT_FLOOR])
    return []


def _of_masks(masks: RowMasks | None, artefact: Artefact) -> list[Doubt]:
    return [] if masks is None else mask_doubts(masks.census, _maker(artefact))


def _maker(artefact: Artefact) -> Maker:
    """Return who made masks, by what their stage has read."""
    stage = STAGES.get(artefact.stage)
    if stage is None or stage.elsewhere:
        return "program"
    read = [kind for name in artefact.record["inputs"] if (kind := STAGES.get(name)) is not None]
    if any(kind.segments for kind in read):
        return "network"
    return "classifier" if any(kind.judged for kind in read) else "refinement"


def _of_scores(row: Row, step: str, comparison: Comparison) -> list[Doubt]:
    cell = row.cells.get(step)
    if cell is None:
        return []
    floor = comparison.protocols[step].floor
    found = [] if cell.threshold is None else threshold_doubts(cell.threshold)
    return found + ([] if floor is None else floor_doubts(cell.miou, floor))
