"""Kept trials say in MLflow what they were chosen from, also when more was tried after they had ended."""

from __future__ import annotations

from pathlib import Path

from story import TRIALS, beginning, ending, runs, tell

from wsss.pipeline.events import (
    StudyFinished,
    StudyStarted,
    SweepFinished,
    SweepStarted,
    TrialFinished,
    TrialStarted,
    Tried,
)


def test_a_kept_trial_says_what_it_was_chosen_from_and_follows_what_comes_later(
    uri: str, tmp_path: Path
) -> None:
    first = TRIALS[0].id
    events = [*beginning(tmp_path), *ending(tmp_path)[:-2]]
    tell(
        uri,
        tmp_path,
        [*events, SweepFinished("cam", (first,), {first: Tried(2, 6, 0.5, 0.25)}), StudyFinished(0)],
    )
    metrics = runs(uri)[first].data.metrics
    assert metrics["tried/configurations"] == 2
    assert (metrics["tried/epochs"], metrics["tried/hours"], metrics["tried/gpu_hours"]) == (6, 0.5, 0.25)
    again = [
        StudyStarted("made", str(tmp_path), "name: made\n"), SweepStarted("cam", "cams/select/miou", TRIALS),
        *(event for trial in TRIALS for event in (
            TrialStarted(trial), TrialFinished(trial, "done", {"cams/select/miou": 0.5}, cached=True))),
        SweepFinished("cam", (first,), {first: Tried(8, 24, 2.0, 1.0)}), StudyFinished(0),
    ]  # fmt: skip
    tell(uri, tmp_path, again)
    run = runs(uri)[first]
    assert run.data.metrics["tried/configurations"] == 8
    assert run.info.status == "FINISHED"
