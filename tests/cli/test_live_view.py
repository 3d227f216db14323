"""What a person sees while a study runs."""

from __future__ import annotations

import io
import time

import pytest
from rich.cells import cell_len
from rich.console import Console

from wsss.cli.running.live import LiveTable, draw
from wsss.cli.running.state import State
from wsss.launch.lines import Lines
from wsss.launch.words import checks_table, duration
from wsss.pipeline.check import Check
from wsss.pipeline.events import (
    Event,
    Moving,
    PreflightDone,
    StageFinished,
    StageWaiting,
    StepPart,
    StudyFinished,
    StudyStarted,
    SweepFinished,
    SweepStarted,
    TrialFinished,
    TrialInfo,
    TrialProgress,
    TrialStarted,
)

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


def screen(state: State, now: float, width: int = 140, height: int = 24) -> list[str]:
    """Return the lines of the live table on a screen."""
    out = io.StringIO()
    console = Console(file=out, width=width, height=height)
    console.print(*draw(state, now, width, height), sep="\n")
    return out.getvalue().rstrip("\n").split("\n")


def after(events: list[Event], *, pace: float = 0.0) -> State:
    """Return what is known after events, `pace` seconds apart."""
    state = State(0.0)
    for number, event in enumerate(events):
        state.take(event, number * pace)
    return state


def test_the_live_table_shows_progress_best_and_failures() -> None:
    shots = ["\n".join(screen(after(EVENTS[:number]), 0.0)) for number in range(1, len(EVENTS))]
    assert "2/8" in shots[4] and "loss 0.250" in shots[4] and "0 of 2 done" in shots[4]
    assert "alpha 0.5" in shots[4], "the values that the search has chosen"
    assert "shared-12345678" in shots[5]
    assert "waits for host-2, process 7" in shots[7]
    assert "waits for CPUs beside the GPU: cams.scores" in shots[9]
    assert "43.2" in shots[-1] and "failed" in shots[-1] and "loss is nan" in shots[-1]
    assert "quick · cam: 2 of 2 done · 1 failed · best 43.2 (cam-fmix-000)" in shots[-1]


def test_the_summary_comes_first_and_running_trials_before_ended_ones() -> None:
    infos = tuple(TrialInfo(f"cam-fmix-{n:03}", "cam", "fmix", 0) for n in range(5))
    events: list[Event] = [StudyStarted("quick", "/s", ""), SweepStarted("cam", "m", infos)]
    events += [TrialStarted(info) for info in infos]
    events += [TrialFinished(info, "done", {"m": 0.1 * n}) for n, info in enumerate(infos[:3])]
    lines = screen(after(events, pace=1.0), 10.0)
    assert lines[0].startswith("quick · cam: 3 of 5 done · best 20.0 (cam-fmix-002) · about ")
    assert [line.split()[0] for line in lines[2:]] == [f"cam-fmix-00{n}" for n in (3, 4, 2, 1, 0)]


def test_batches_within_an_epoch_move_the_bar_and_the_time_that_is_left() -> None:
    begin: list[Event] = [SweepStarted("cam", "m", (GOOD,)), TrialStarted(GOOD)]
    part = StepPart(GOOD.id, "classifier", 0, 4, 30, 60)
    state = after([*begin, part], pace=10.0)  # half of the first of four epochs took ten seconds
    line = next(line for line in screen(state, 20.0) if GOOD.id in line)
    assert "0/4 + 30/60" in line and "━" in line and "1m 10s" in line, line
    line = next(line for line in screen(state, 25.0) if GOOD.id in line)
    assert "1m 05s" in line, "the clock goes on between events"
    state.take(TrialProgress(GOOD.id, "classifier", 1, 4, {"loss": 0.5}), 30.0)
    line = next(line for line in screen(state, 30.0) if GOOD.id in line)
    assert "1/4" in line and "30/60" not in line and "1m 00s" in line, line
    state.take(StepPart("gone", "classifier", 0, 4, 30, 60), 31.0)
    assert "gone" not in state.rows, "what comes late makes no row"


LONG = {"learning_rate": 0.0123456, "alpha": 1.5, "decay": 3.25, "probability": 0.5}


@pytest.mark.parametrize("width", [80, 100, 200])
@pytest.mark.parametrize("running", [1, 5, 40])
def test_no_line_and_no_row_is_more_than_the_screen_holds(width: int, running: int) -> None:
    infos = tuple(
        TrialInfo(f"cam-subcategory_exploration-{n:03}", "cam", "subcategory_exploration", 0, LONG)
        for n in range(running + 20)
    )
    events: list[Event] = [StudyStarted("quick", "/s", ""), SweepStarted("cam", "cams/select/miou", infos)]
    events += [TrialStarted(info) for info in infos]
    events += [TrialFinished(info, "done", {"cams/select/miou": 0.4}) for info in infos[running:]]
    metrics = {"loss": 0.25, "mAP": 0.9, "mAP_size": 448.0}
    events += [TrialProgress(info.id, "classifier", 3, 8, metrics) for info in infos[:running]]
    events += [StepPart(info.id, "classifier", 3, 8, 12, 58) for info in infos[:running]]
    lines = screen(after(events, pace=0.1), 60.0, width, 24)
    assert len(lines) <= 24 and all(cell_len(line.rstrip()) <= width for line in lines)
    assert lines[0].startswith(f"quick · cam: 20 of {running + 20} done · best 40.0 (cam-sub")
    names = [line.split()[0] for line in lines[2:] if line.startswith("cam-")]
    shown = [infos[n].id for n in range(min(running, 21 if running > 22 else 22))]
    assert names[: len(shown)] == shown, "names are whole, and those that run come first"
    assert len(names) == len(shown) + (8 if running < 22 else 0)
    assert ("… and 19 more running" in lines[-1]) == (running == 40)
    assert all("3/8 + 12/58" in line for line in lines[2 : 2 + len(shown)])
    if width == 200:
        assert all("alpha 1.5, decay 3.25" in line for line in lines[2 : 2 + len(shown)])


def test_a_name_that_is_as_wide_as_the_screen_is_all_there_is() -> None:
    info = TrialInfo("cam-" + 90 * "x", "cam", "x", 0)
    lines = screen(after([SweepStarted("cam", "m", (info,)), TrialStarted(info)]), 0.0, 80)
    assert all(cell_len(line) <= 80 for line in lines) and lines[-1].startswith("cam-xxx")


def test_the_table_on_a_terminal_is_drawn_again_every_second_without_events() -> None:
    out = io.StringIO()
    view = LiveTable(Console(file=out, width=80, height=24, force_terminal=True))
    for event in EVENTS[:5]:
        view.on_event(event)
    first = len(out.getvalue())
    deadline = time.monotonic() + 10
    while out.getvalue().count("cam-fmix-000") < 3 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert out.getvalue().count("cam-fmix-000") >= 3 and len(out.getvalue()) > first
    view.on_event(EVENTS[-1])
    view.close()
    assert "2 of 2" not in out.getvalue()


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
    for event in events:
        lines.on_event(event)
    assert f"cam-mixup-000  stopped: {reason}" in out.getvalue() and "sweep cam: 6 trials" in out.getvalue()
    shown = "\n".join(screen(after(events), 0.0, 160))
    assert reason in shown
    assert "2 of 6 done" in shown and "1 stopped" in shown and "best 40.0 (cam-fmix-000)" in shown


def test_lines_say_which_values_a_trial_starts_with() -> None:
    out = io.StringIO()
    Lines(Console(file=out, width=200)).on_event(TrialStarted(GOOD))
    assert "cam-fmix-000  starts with alpha 0.5" in out.getvalue()
