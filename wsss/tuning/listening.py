"""The Ray Tune scheduler of every run: the driver gets each event and decides whether the trial goes on.

The driver itself asks ASHA or another rule (`wsss.tuning.schedulers`), since it sees what Ray does not:
work found in the storage, trials of earlier runs, scores between stages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wsss.pipeline.executor import Listener
from wsss.tuning.trainable import EVENT, event_from_json

from ray.tune.schedulers import FIFOScheduler, TrialScheduler  # isort: skip


class ListeningScheduler(FIFOScheduler):  # type: ignore[misc, unused-ignore]
    """First in, first out, until the listener says that a trial has to stop."""

    def __init__(self, listener: Listener, keep: Callable[[Exception], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]
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
        try:
            goes_on = self._listener.event(event_from_json(result[EVENT]))
        except Exception as error:
            self._keep(error)
            goes_on = True
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)
