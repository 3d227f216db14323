"""The Ray Tune searcher of runs whose next job follows from what has been told until then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ray.tune.search import Searcher


class JobSearcher(Searcher):  # type: ignore[misc, unused-ignore]
    """Hands out the driver's jobs, one whenever Ray has room for a trial.

    The driver hears how trials fare from their events, not from here, so that a local run and a run on
    Ray search with the same code.
    """

    def __init__(self, jobs: Iterator[dict[str, Any]], keep: Callable[[Exception], None]) -> None:
        super().__init__()
        self._jobs = jobs
        self._keep = keep

    def __getstate__(self) -> dict[str, Any]:
        """Ray pickles it for a restore that is never used here: nothing of ours goes along."""
        return {}

    def suggest(self, trial_id: str) -> Any:
        """Return the next job. An error of the driver's own ends the search and is kept until the end."""
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
        """Nothing to do: the driver knows."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to write: the ledger has it."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing was written."""
