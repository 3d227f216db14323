"""The Ray Tune searcher of runs whose next job follows from earlier results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ray.tune.search import Searcher


class JobSearcher(Searcher):
    """Hands out the driver's jobs, one whenever Ray has room for a trial.

    The driver learns from events how trials fare, not from this class: a local run and a run on Ray search
    with the same code.
    """

    def __init__(self, jobs: Iterator[dict[str, Any]], keep: Callable[[Exception], None]) -> None:
        super().__init__()
        self._jobs = jobs
        self._keep = keep

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing to pickle: Ray pickles searchers for its own restore, which wsss never uses."""
        return {}

    def suggest(self, trial_id: str) -> Any:
        """Return the next job. An error of the driver ends the search; the executor raises it after the
        run."""
        try:
            return {"job": next(self._jobs)}
        except StopIteration:
            return Searcher.FINISHED
        except Exception as error:
            self._keep(error)
            return Searcher.FINISHED

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Do nothing: the driver has the result from events."""

    def save(self, checkpoint_path: str) -> None:
        """Write nothing: the ledger has the search."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: `save` wrote nothing."""
