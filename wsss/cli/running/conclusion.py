"""What `run` and `resume` say at the end: the table, what was done, what to doubt, what to look at next."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from wsss.cli.console import say
from wsss.cli.options import invocation, of_study
from wsss.launch.words import note

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from wsss.config import Study
    from wsss.data.view import DataView
    from wsss.launch.execution import Ended
    from wsss.pipeline.outcome import Outcome
    from wsss.report.comparison import Comparison, Row
    from wsss.report.study_doubts import Examined


NAMED = 10
"""Errors, and trials of each, that are named."""


def conclude(study: Study, ended: Ended, as_json: bool) -> None:
    """Print how a study ended, and leave the process with its exit code.

    Args:
        study: that was run.
        ended: how.
        as_json: for a program to read.
    """
    outcome = ended.outcome
    from wsss.addresses import shown
    from wsss.cli.comparison.compare import show
    from wsss.report.compare import compare
    from wsss.report.frame import comparison_json

    comparison = compare(study.storage, [study.name])
    examined = _examined(comparison, study, ended.data)
    if as_json:
        result = {
            "study": study.name,
            "storage": str(study.storage),
            "tracking": shown(ended.uri),
            "trials": outcome.trials,
            "failed": outcome.failed,
            "stopped": outcome.stopped,
            "computed": outcome.computed,
            "reused": outcome.reused,
            "interrupted": outcome.interrupted,
            "budget": outcome.budget,
            "data_changed": ended.changed,
            "running": None,
            **(examined.as_json() if examined else {}),
            "comparison": comparison_json(comparison),
        }
        print(json.dumps(result, indent=1))
    else:
        show(comparison, "table")
        for line in examined.lines() if examined else ():
            say(line)
        _say_what_was_done(study, outcome)
        _say_where(study, comparison, ended)
    if outcome.interrupted:
        sys.exit(130)
    if outcome.failed:
        sys.exit(1)


def _examined(comparison: Comparison, study: Study, data: DataView) -> Examined | None:
    """Return what speaks against the results; a file that can't be read ends no run."""
    from wsss.errors import WsssError
    from wsss.report.study_doubts import examine

    try:
        return examine(comparison, study.storage, data)
    except (WsssError, OSError) as error:
        note(f"the masks were not looked at: {error}")
        return None


def _say_what_was_done(study: Study, outcome: Outcome) -> None:
    if outcome.budget:
        key = outcome.budget_key
        print(f"Stopped: the budget is used up, {outcome.budget}. Nothing finished is lost.")
        print(f"`resume {study.name} -s budget.{key}=MORE` goes on; `budget.{key}=null` lifts the limit.")
    elif outcome.interrupted:
        print(f"Interrupted. Nothing finished is lost: `resume {study.name}` goes on.")
    elif outcome.computed:
        print(f"Computed {outcome.computed} artefacts, found {outcome.reused} in the storage.")
    elif outcome.failed:
        print(f"No artefact was finished, {outcome.reused} were found in the storage.")
    else:
        print(f"Nothing was computed: all {outcome.reused} artefacts were in the storage.")
    if outcome.stopped:
        print(f"Stopped early: {', '.join(outcome.stopped)}.")
    if outcome.failed:
        for line in failed_lines(study, outcome.failed):
            say(line)
        print(f"`resume {study.name}` tries them again.")


def failed_lines(study: Study, failed: Sequence[str]) -> list[str]:
    """Return a line for each error that trials ended with, and which trials: "Failed: a, b: no memory"."""
    from wsss.errors import LONGEST_PROBLEM, shortened
    from wsss.store.storage import open_storage

    records = open_storage(study.storage).ledger(study.name).trials()
    errors: dict[str, list[str]] = {}
    for id in failed:
        error = records[id].error.strip() if id in records else ""
        # Of a traceback the last line says it; our own errors may end with what a program wrote.
        said = error.splitlines()[-1] if error.startswith("Traceback") else " ".join(error.split())
        errors.setdefault(said, []).append(id)
    found = [
        f"Failed: {', '.join(ids[:NAMED])}{f' and {len(ids) - NAMED} more' if len(ids) > NAMED else ''}"
        f"{f': {shortened(error, LONGEST_PROBLEM)}' if error else '.'}"
        for error, ids in errors.items()
    ]
    more = len(found) - NAMED
    return [
        *found[:NAMED],
        *([f"… and {more} other errors, which MLflow has."] if more > 0 else []),
    ]


def _say_where(study: Study, comparison: Comparison, ended: Ended) -> None:
    """Print where things are, and a line for each thing to do next."""
    from wsss.addresses import shown

    print(f"Storage {study.storage}")
    verb = of_study("mlflow", study) if ended.uri.startswith("sqlite") else shown(ended.uri)
    print(f"MLflow  {ended.page or verb}")
    if ended.report is not None:
        print(f"Report  {ended.report}")
    if not any(row.status == "done" for row in comparison.rows):
        return
    print("Next:")
    for what, words in _tips(study, comparison, ended.report).items():
        print(f"  {what}: {words}")


def _tips(study: Study, comparison: Comparison, report: Path | None) -> dict[str, str]:
    """Return what to do next and the command for it."""
    tips = (
        {}
        if report is None
        else {"look at photos, maps and masks of every arm": f"open {report} in a browser"}
    )
    tips["the same page, to send"] = of_study("report", study, "-o", f"{study.name}.html")
    if not comparison.unscored:
        tips["in which way masks are wrong"] = of_study("compare", study, "--errors")
    row = _with_network(comparison)
    if row is None:
        tips["masks for new photos need a `segmenter` in the study"] = invocation(
            "studies", "copy", "whole_chain"
        )
    else:
        words = ("PHOTOS", "--model", _trial_of(study, row), "-o", "masks")
        tips["masks for new photos"] = of_study("predict", study, *words, named=False)
    return tips


def _with_network(comparison: Comparison) -> Row | None:
    """Return the best row that has trained a network for new photos."""
    rows = [row for row in comparison.rows if row.status == "done" and row.segments]
    last = comparison.steps[-1] if comparison.steps else ""
    return max(rows, key=lambda row: row.cells[last].miou if last in row.cells else -1.0, default=None)


def _trial_of(study: Study, row: Row) -> str:
    """Return STUDY/TRIAL of a row's first seed."""
    from wsss.store.storage import open_storage

    for trial in open_storage(study.storage).ledger(study.name).trials().values():
        if (trial.arm, trial.configuration, trial.seed) == (row.arm, row.configuration, row.seeds[0]):
            return f"{study.name}/{trial.id}"
    return f"{study.name}/TRIAL"
