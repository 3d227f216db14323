"""What a person sees while a study runs."""

from __future__ import annotations

import io

from rich.console import Console

from wsss.cli.live import Lines, LiveTable, checks_table, duration
from wsss.pipeline.events import (
    Event,
    Moving,
    PreflightDone,
    StageFinished,
    StageWaiting,
    StudyFinished,
    StudyStarted,
    SweepFinished,
    SweepStarted,
    TrialFinished,
    TrialInfo,
    TrialProgress,
    TrialStarted,
)
from wsss.pipeline.forecasts.preflight import Check

GOOD = TrialInfo("cam-fmix-000", "cam", "fmix", 0, {"alpha": 0.5})
BAD = TrialInfo("cam-mixup-000", "cam", "mixup", 0)
EVENTS: list[Event] = [
    StudyStarted("quick", "/s", ""),
    SweepStarted("cam", "cams/select/miou", (GOOD, BAD)),
    TrialStarted(GOOD),
    TrialStarted(BAD),
    TrialProgress(GOOD.id, "classifier", 2, 8, {"loss": 0.25, "mAP": 0.9, "lr": 0.1}),
    TrialProgress("shared-12345678", "classifier", 1, 8, {"loss": 0.5}),
    StageWaiting(GOOD.id, "classifier", "k" * 64, "host-2, process 7"),
    StageWaiting(GOOD.id, "classifier", "k" * 64, "host-2, process 7"),
    StageFinished(GOOD.id, "classifier", "k" * 64, cached=False, seconds=63.2),
    Moving(GOOD.id, "cams.scores", gpu=False),
    TrialFinished(GOOD, "done", {"cams/select/miou": 0.4321}),
    TrialFinished(BAD, "failed", error="classifier, step 2: loss is nan"),
    SweepFinished("cam", (GOOD.id,)),
    StudyFinished(failed=1),
]


def test_plain_lines_say_everything_once() -> None:
    out = io.StringIO()
    view = Lines(Console(file=out, width=200))
    for event in EVENTS:
        view.on_event(event)
    text = out.getvalue()
    for expected in (
        "sweep cam: 2 trials, best by cams/select/miou",
        "cam-fmix-000  classifier  2/8  loss 0.250  mAP 0.900",
        "cam-fmix-000  classifier  made in 1m 03s",
        "cam-fmix-000  waiting for classifier, made by another run (host-2, process 7)",
        "cam-fmix-000  waits for CPUs beside the GPU: cams.scores",
        "cam-mixup-000  FAILED: classifier, step 2: loss is nan",
        "sweep cam: kept cam-fmix-000",
    ):
        assert text.count(expected) == 1, expected


def test_the_live_table_shows_progress_best_and_failures() -> None:
    console = Console(file=io.StringIO(), width=140, force_terminal=True)
    view = LiveTable(console)
    shots = []
    for event in EVENTS[:-1]:
        view.on_event(event)
        out = io.StringIO()
        Console(file=out, width=140).print(view._table())
        shots.append(out.getvalue())
    view.on_event(EVENTS[-1])
    view.close()
    assert "2/8" in shots[4] and "loss 0.250" in shots[4] and "0 of 2 trials" in shots[4]
    assert "shared" in shots[5]
    assert "43.2" in shots[-1] and "failed" in shots[-1] and "2 of 2 trials" in shots[-1]
    assert "best 43.2" in shots[-1]


def test_durations_read_like_speech() -> None:
    assert [duration(s) for s in (0.4, 59, 60, 185, 3600, 7805)] == [
        "0s",
        "59s",
        "1m 00s",
        "3m 05s",
        "1h 00m",
        "2h 10m",
    ]


def test_what_was_looked_at_beforehand_is_shown_with_the_way_out() -> None:
    checks = (
        Check("disk", "ok", "9 GiB are free"),
        Check("storage", "bad", "[x] can't be written", "give another"),
    )
    console = Console(file=io.StringIO(), width=100)
    Lines(console).on_event(PreflightDone(checks))
    console.print(checks_table(checks))
    lines, table = console.file.getvalue().split("before anything starts")  # type: ignore[attr-defined]
    assert "ok    disk: 9 GiB are free" in lines and "bad   storage: [x] can't be written" in lines
    assert "give another" in table and "[x] can't be written" in table and table.count("\n") < 12


def test_a_stopped_trial_says_why_and_is_not_the_best() -> None:
    reason = "asha: rung score 0.100 after epoch 3 of 9"
    events: list[Event] = [
        SweepStarted("cam", "cams/select/miou", (GOOD, BAD), total=6),
        TrialStarted(GOOD),
        TrialStarted(BAD),
        TrialFinished(GOOD, "done", {"cams/select/miou": 0.4}),
        TrialFinished(BAD, "stopped", {"cams/select/miou": 0.9}, reason=reason),
    ]
    out = io.StringIO()
    lines = Lines(Console(file=out, width=200))
    console = Console(file=io.StringIO(), width=160, force_terminal=True)
    table = LiveTable(console)
    for event in events:
        lines.on_event(event)
        table.on_event(event)
    assert f"cam-mixup-000  stopped: {reason}" in out.getvalue() and "sweep cam: 6 trials" in out.getvalue()
    with console.capture() as capture:
        console.print(table._table())
    table.close()
    shown = capture.get()
    assert reason in shown
    assert "2 of 6 trials" in shown and "1 stopped" in shown and "best 40.0 (cam-fmix-000)" in shown
