"""A small study as the driver tells it, for tests of who listens."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from wsss.pipeline.events import (
    Event,
    StageFinished,
    StudyFinished,
    StudyStarted,
    SweepFinished,
    SweepStarted,
    TrialFinished,
    TrialInfo,
    TrialProgress,
    TrialStarted,
)
from wsss.tracking.content.conclusion import Conclusion, Winner
from wsss.tracking.tracker import MlflowTracker

METRIC = "cams/select/miou"
TRIALS = tuple(
    TrialInfo(f"cam-fmix-00{n}", "cam", "fmix", n, {"alpha": 0.5 + n}, "fmix", "resnet50") for n in range(2)
)


def beginning(folder: Path) -> list[Event]:
    """A study starts and its first trial gets through two of three epochs."""
    first = TRIALS[0]
    return [
        StudyStarted("made", str(folder), "name: made\n"),
        SweepStarted("cam", METRIC, TRIALS),
        TrialStarted(first),
        TrialProgress(
            first.id,
            "classifier",
            1,
            3,
            {"loss": 0.9, "mAP": 0.2, "loss/entropy": 0.4, "margin": 7, "images": 24},
        ),
        TrialProgress(first.id, "classifier", 2, 3, {"loss": 0.7, "mAP": 0.3}),
    ]


def ending(folder: Path, *, second: str = "done") -> list[Event]:
    """The first trial ends well, the second as told, then the sweep and the study."""
    weights, picture = folder / "classifier.safetensors", folder / "overlays.png"
    weights.write_bytes(b"weights")
    picture.write_bytes(b"picture")
    files = {"classifier.safetensors": str(weights), "cams/overlays.png": str(picture)}
    events: list[Event] = [TrialProgress(TRIALS[0].id, "classifier", 3, 3, {"loss": 0.6, "mAP": 0.5})]
    for n, trial in enumerate(TRIALS):
        if n:
            events.append(TrialStarted(trial))
        if n and second == "failed":
            events.append(TrialFinished(trial, "failed", error="CUDA out of memory"))
            continue
        events.append(StageFinished(trial.id, "classifier", "ab", cached=False, seconds=1.0))
        scores = {METRIC: 0.5 - 0.1 * n, "cams/report/miou": 0.4}
        per_class = {"cams/report": {"cat": 0.25, "dog": 0.75}}
        events.append(TrialFinished(trial, "done", scores, per_class, files))
    return [*events, SweepFinished("cam", (TRIALS[0].id,)), StudyFinished(failed=int(second == "failed"))]


def conclusion(folder: Path, *, trial: int = 0, key: str = "ab" * 32, comparison: str = "{}") -> Conclusion:
    """What the study came to, with one of its trials as the winner; its weights are no weights."""
    weights, id = folder / "winner.safetensors", TRIALS[trial].id
    weights.write_bytes(f"weights of {key}".encode())
    winner = Winner(
        id, key, {"classifier.safetensors": str(weights)}, {"classes.txt": "background\ncat\n"}, "no.such"
    )
    return Conclusion(
        "made", comparison, f"**{id} leads.**", "name: made\n", 1000, 5000, True,
        metrics={"best/cams": 0.4}, best=id, winner=winner,
    )  # fmt: skip


def page(folder: Path, text: str = "<html>made</html>") -> Path:
    (folder / "page.html").write_text(text)
    return folder / "page.html"


def tell(
    uri: str,
    folder: Path,
    events: Sequence[Event],
    *,
    seconds: float = 60,
    conclude: Conclusion | None = None,
) -> list[str]:
    """Let a tracker hear these events and what they came to, and close it; return its warnings."""
    warnings: list[str] = []
    tracker = MlflowTracker(uri, folder / "studies" / "made", warn=warnings.append)
    for event in events:
        tracker.on_event(event)
    if conclude is not None:
        tracker.conclude(conclude, page(folder))
    tracker.close(seconds)
    return warnings


def runs(uri: str) -> dict[str, Run]:
    """The runs of study `made` by name. Fails if two have the same."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("made")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    names = [str(run.info.run_name) for run in found]
    assert len(names) == len(set(names)), f"doubled: {names}"
    return dict(zip(names, found, strict=True))


def history(uri: str, run: Run, metric: str) -> list[tuple[int, float]]:
    points = MlflowClient(uri).get_metric_history(run.info.run_id, metric)
    return sorted((point.step, point.value) for point in points)


def wait(condition: object, seconds: float = 150) -> None:
    """Wait until `condition()` holds."""
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)
