"""The Ray Tune scheduler of every run: the driver gets each event and decides whether the trial goes on.

The driver itself asks ASHA or another rule (`wsss.tuning.schedulers`), since it sees what Ray does not:
work found in the storage, trials of earlier runs, scores between stages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wsss.pipeline.events import Moving
from wsss.pipeline.executor import Listener
from wsss.tuning.trials.parts import next_part
from wsss.tuning.trials.trainable import EVENT, event_from_json

from ray.tune.experiment import Trial  # isort: skip
from ray.tune.schedulers import FIFOScheduler, TrialScheduler  # isort: skip


class ListeningScheduler(FIFOScheduler):
    """First in, first out, until the listener says that a trial has to stop. One that says that it moves is
    paused: its next part takes its turn with other resources."""

    def __init__(self, listener: Listener, keep: Callable[[Exception], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Ray's
        self._listener = listener
        self._keep = keep

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing to pickle: Ray may pickle schedulers for its own restore, which wsss never uses."""
        return {}

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Pass the result to the driver. An exception would abort the whole run, so it is kept until the
        end."""
        if EVENT not in result:
            return str(TrialScheduler.CONTINUE)
        event = event_from_json(result[EVENT])
        goes_on = self._told(lambda: self._listener.event(event))
        if goes_on and isinstance(event, Moving):
            self._move(tune_controller, trial, event)
            return str(TrialScheduler.NOOP)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def _move(self, tune_controller: Any, trial: Any, event: Moving) -> None:
        """Let a trial leave its resources to others and wait for those of its next part."""
        tune_controller.pause_trial(trial, should_checkpoint=False)
        job = next_part(trial.config["job"], event)
        trial.set_config({**trial.config, "job": job})
        trial.update_resources(dict(job["asked"]))
        self._told(lambda: self._listener.holds(job["id"], 0.0))

    def _told(self, tell: Callable[[], bool | None]) -> bool:
        """Return what the driver answers; True when that fails."""
        try:
            return bool(tell())
        except Exception as error:
            self._keep(error)
            return True

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Return a trial that waits for its next part, before those that have not begun."""
        waiting = (trial for trial in tune_controller.get_trials() if trial.status == Trial.PAUSED)
        return next(waiting, None) or super().choose_trial_to_run(tune_controller)
