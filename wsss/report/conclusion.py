"""What a study comes to, for MLflow: the answer, the table, and the network that won."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from wsss.config.naming import HOLDOUT_MAP, SELECT_MIOU
from wsss.config.params.stages import CamsParams
from wsss.config.stage import STAGES, made_kind
from wsss.files import read_json, sha256_file
from wsss.pipeline.origin import data_source
from wsss.pipeline.past.planned import recorded_stages
from wsss.pipeline.past.retell import Past
from wsss.predict.trained.model_folder import (
    ABOUT,
    CLASSES,
    CLASSIFIER,
    CONFIG,
    FILES,
    LOADER,
    About,
    class_lines,
)
from wsss.report.comparison import Cell, Comparison, Row
from wsss.report.page.answer import answers
from wsss.report.words.notes import notes
from wsss.report.words.titles import arm_title, difference_text, step_title
from wsss.stages.kinds.scoring.scores import SCORES_FILE
from wsss.store.artefact import Artefact
from wsss.store.folder_store import Store
from wsss.store.ledger import TrialRecord
from wsss.store.storage import Storage
from wsss.tracking.content import tags as tag
from wsss.tracking.content.about import data_sets, origin_tags, trial_yaml
from wsss.tracking.content.conclusion import Conclusion, Winner
from wsss.tracking.system import read_samples

LONGEST_NOTE = 18_000
"""Characters: an experiment's note may have 20 000 in MLflow."""
INPUT = (
    "A photo, or a list of photos of any sizes: uint8[H, W, 3] in RGB, a Pillow picture, or a file's path; "
    "uint8[N, H, W, 3] for several of one size."
)
OUTPUT = (
    "For a photo its mask uint8[H, W], for a list a list of masks, for an array of photos an array of masks. "
    "0 is background; classes.txt has the names of ids."
)
DEFAULT_THRESHOLD = 0.25
"""Of CAMs, where a study has no masks to choose it by."""


def conclusion_of(storage: Storage, past: Past, comparison: Comparison, text: str) -> Conclusion:
    """Return what a study comes to.

    Args:
        storage: where it is.
        past: what its ledger holds.
        comparison: of this study alone.
        text: what `compare --format json` prints.
    """
    best, row = best_trial(past, comparison)
    winner = None if best is None or not past.finished else winner_of(storage.store, past, best)
    titles = tuple(arm_title(one, comparison) for one in comparison.rows)
    told = f"What `{past.name}` came to: report, comparison and study file are among the artifacts."
    courses, closes = past.courses.values(), past.closes.values()
    ends = [time for time in (*(c.ended for c in courses), *(c.time for c in closes)) if time is not None]
    tags = {tag.STUDY: past.name, **origin_tags(past.name, past.origin, told)}
    source = "" if past.study is None else data_source(past.study)
    return Conclusion(
        study=past.name,
        comparison=text,
        note=note_of(comparison, titles),
        config=past.config,
        began=past.first,
        ended=max(ends, default=past.last),
        finished=past.finished,
        metrics=_metrics(row),
        tags={**tags, **({tag.BEST_TRIAL: best.id} if best is not None else {})},
        datasets=data_sets(past.data, source),
        samples=read_samples(storage, past.name),
        best="" if best is None or not past.finished else best.id,
        winner=winner,
    )


def best_trial(past: Past, comparison: Comparison) -> tuple[TrialRecord | None, Row | None]:
    """Return the trial that scored best on `select` images at the last step that any was scored on there, and
    its row.

    Rows that have seen pixel labels count only where there are no others. Of a configuration's seeds the best
    one is meant. What is reported decides nothing.
    """
    rows = [row for row in comparison.rows if row.status == "done"]
    rows = [row for row in rows if not row.pixel_labels] or rows
    for step in reversed(comparison.steps):
        scored = [row for row in rows if step in row.cells and row.cells[step].select is not None]
        if scored:
            first = max(scored, key=lambda row: row.cells[step].select or 0.0)
            return _best_seed(past, first, f"{step}/{SELECT_MIOU}"), first
    ranked = [(max(row.holdout.values()), row) for row in rows if row.holdout]
    if ranked:
        row = max(ranked, key=lambda one: one[0])[1]
        return _best_seed(past, row, f"{list(row.holdout)[-1]}/{HOLDOUT_MAP}"), row
    return None, None


def _best_seed(past: Past, row: Row, metric: str) -> TrialRecord | None:
    mine = [trial for trial in row.trials(past.records) if trial.status == "done"]
    return max(mine, key=lambda trial: trial.metrics.get(metric, 0.0), default=None)


def _metrics(row: Row | None) -> dict[str, float]:
    """Return the winner's scores with their intervals, as MLflow's metrics."""
    found: dict[str, float] = {}
    for step, cell in row.cells.items() if row is not None else ():
        found |= {f"best/{step}": cell.miou, f"best/{step}_low": cell.low, f"best/{step}_high": cell.high}
        if cell.to_baseline is not None:
            found[f"best/{step}_delta"] = cell.to_baseline.mean
    return found


def winner_of(store: Store, past: Past, trial: TrialRecord) -> Winner | None:
    """Return the last network of a trial's chain, its segmentation network if it has one; None without any,
    or where its files are gone."""
    known = {label: found for label, key in trial.keys.items() if (found := store.known(key)) is not None}
    for stage, (weights, beside) in FILES.items():
        last = _last(stage, known.values())
        artefact = None if last is None else store.get(last.key, thorough=True)
        if artefact is None:
            continue
        files = {name: artefact.folder / name for name in (weights, beside)}
        content = read_json(files[beside])
        if not files[weights].is_file() or not isinstance(content, dict) or "classes" not in content:
            continue
        classes = [str(name) for name in content["classes"]]
        about = About(
            stage=stage,
            key=artefact.key,
            study=past.name,
            trial=trial.id,
            sha256=sha256_file(files[weights]),
            **(_cam_settings(store, known.values(), artefact) if stage == CLASSIFIER else {}),
        )
        params = past.courses[trial.id].params
        stages = recorded_stages(trial, params, past.planned, store)
        info = past.info(trial)
        described = f"{stage.capitalize()} of trial {trial.id} of {past.name}: {', '.join(classes)[:500]}"
        return Winner(
            trial.id,
            artefact.key,
            {name: str(path) for name, path in files.items()},
            {
                ABOUT: about.model_dump_json(indent=1),
                CLASSES: class_lines(classes),
                CONFIG: trial_yaml(past.name, info, stages),
            },
            LOADER,
            described,
            {"input": INPUT, "output": OUTPUT, "classes": ", ".join(["background", *classes])[:2000]},
        )
    return None


def _last(kind: str, artefacts: Iterable[Artefact]) -> Artefact | None:
    """Return the artefact of a kind that no other one of it was made from."""
    everything = {artefact.key: artefact for artefact in artefacts}
    mine = [one for one in everything.values() if made_kind(one.stage, one.record["params"]) == kind]
    below = {key for artefact in mine for key in _ancestors(artefact, everything)}
    return next((artefact for artefact in reversed(mine) if artefact.key not in below), None)


def _ancestors(artefact: Artefact, everything: dict[str, Artefact]) -> Iterator[str]:
    for key in _sources(artefact):
        yield key
        if key in everything:
            yield from _ancestors(everything[key], everything)


def _cam_settings(store: Store, artefacts: Collection[Artefact], network: Artefact) -> dict[str, Any]:
    """Return how a classifier's CAMs were made, and the threshold that was chosen for them.

    Args:
        store: where scores are.
        artefacts: those of the chain.
        network: the classifier's.
    """
    for cams in artefacts:
        kind = STAGES.get(cams.stage)
        if kind is None or kind.params is not CamsParams or network.key not in _sources(cams):
            continue
        threshold = DEFAULT_THRESHOLD
        for scores in artefacts:
            content = store.read_json(scores.key, SCORES_FILE) if cams.key in _sources(scores) else None
            chosen = ((content or {}).get("select") or {}).get("threshold")
            threshold = float(chosen) if chosen is not None else threshold
        return {"cams": dict(cams.record["params"]), "threshold": threshold}
    return {"cams": CamsParams().model_dump(mode="json"), "threshold": DEFAULT_THRESHOLD}


def _sources(artefact: Artefact) -> list[str]:
    """Return the keys of what an artefact was made from."""
    return [source["key"] for source in artefact.record["inputs"].values()]


def note_of(comparison: Comparison, titles: Sequence[str]) -> str:
    """Return the experiment's note as Markdown: the answer, each arm's scores, and how to read them.

    Where there is no room for all, rows of the table are left out, and no sentence about them is.
    """
    above = [f"**{text}**\n" for text in answers(comparison, tuple(titles))]
    below = ["", *(f"{line}\n" for line in notes(comparison).splitlines())]
    more = ["", "… The whole table is in `compare.json` and `report.html` of the study's run."]
    table = list(_table(comparison, titles))
    room = LONGEST_NOTE - len("\n".join([*above, *more, *below]))
    kept = list(
        itertools.takewhile(lambda row: row <= room, itertools.accumulate(len(row) + 1 for row in table))
    )
    cut = more if len(kept) < len(table) else []
    return "\n".join([*above, *table[: len(kept)], *cut, *below])[:LONGEST_NOTE]


def _table(comparison: Comparison, titles: Sequence[str]) -> Iterator[str]:
    if comparison.unscored:
        yield "| arm | hold-out mAP |"
        yield "|---|---|"
        for title, row in zip(titles, comparison.rows, strict=True):
            yield f"| {title} | {', '.join(f'{100 * value:.1f}' for value in row.holdout.values())} |"
        return
    header = ["arm", "seeds"]
    for step in comparison.steps:
        header += [f"{step_title(step)} mIoU", "95 % interval", f"Δ {comparison.baseline}"]
    yield f"| {' | '.join(header)} |"
    yield "|---" * len(header) + "|"
    for title, row in zip(titles, comparison.rows, strict=True):
        cells = [cell for step in comparison.steps for cell in _cells(row.cells.get(step))]
        yield f"| {' | '.join([title, str(len(row.seeds)), *cells])} |"


def _cells(cell: Cell | None) -> list[str]:
    if cell is None:
        return ["", "", ""]
    interval = f"[{100 * cell.low:.1f}, {100 * cell.high:.1f}]"
    return [f"{100 * cell.miou:.1f}", interval, difference_text(cell.to_baseline)]
