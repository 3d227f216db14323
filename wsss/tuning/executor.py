"""Running chains on Ray: every job is a trial of one Ray Tune run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from wsss.tuning.joining.cluster import clear_ray_folder, connect, ray_folder  # sets Ray's environment first

import ray  # isort: skip
from ray import tune  # isort: skip

from wsss.config import Resources, Study
from wsss.data.view import DataView
from wsss.errors import StorageError
from wsss.pipeline.check import Check
from wsss.pipeline.executor import Job, Listener
from wsss.pipeline.forecasts.programs import programs_needed
from wsss.pipeline.forecasts.shared_memory import needed_shared_memory
from wsss.store.storage import Storage, open_storage
from wsss.tuning.asking import JobSearcher
from wsss.tuning.joining.head import HeadWatch
from wsss.tuning.listening import ListeningScheduler
from wsss.tuning.nodes.preflight import Wanted, cluster_checks
from wsss.tuning.trials.parts import first_part, held_gpus
from wsss.tuning.trials.trainable import ERROR, STORAGE, ChainTrainable
from wsss.tuning.trials.watching import Board

GPU = "cuda"
"""The torch device of a trial that has a GPU."""
RETRIES = 3
"""How often Ray restarts a trial whose process or node died."""


class RayExecutor:
    """Makes chains in parallel on a Ray cluster, which it joins or starts when there is something to make.

    Args:
        study: whose chains.
        address: of a cluster; None for RAY_ADDRESS, or this machine alone.
        data: the study's images.
        start: whether the preflight starts the interpreters of foreign programs; they run if the study does.
    """

    def __init__(
        self, study: Study, address: str | None = None, data: DataView | None = None, *, start: bool = True
    ) -> None:
        self.study = study
        self.address = address
        self.data = data
        self.watched = False
        self._start = start
        self._board: Board | None = None
        self._runs = 0

    def preflight(self, resources: Sequence[Resources]) -> list[Check]:
        """Join or start Ray and look at every node. Raises `PreflightError` when Ray can't be reached."""
        connect(self.address)
        needed = needed_shared_memory(self.study)
        programs = programs_needed(self.study)
        wanted = Wanted(self.study.storage, self.data, self.study.data, needed, programs, start=self._start)
        return cluster_checks(resources, wanted)

    def run(self, jobs: Iterable[Job], resources: Resources, listener: Listener) -> None:
        """Make every chain, as many at a time as the cluster has room for, until the listener stops it.

        A trial's GPU is given to the next one while what needs no network is made beside.
        Ray gets a list of jobs at once. From any other iterable it takes the next job when there is room
        for it.
        """
        self._runs += 1
        storage = open_storage(self.study.storage)
        name = f"run-{self._runs}"
        clear_ray_folder(storage, self.study.name, name)
        if self.watched and self._board is None:
            self._board = Board()
        callback = _Callback(listener, self._board)
        handed: list[str] = []
        space: dict[str, Any] = {}
        searcher: JobSearcher | None = None
        if isinstance(jobs, list):
            handed = [job.id for job in jobs]
            space = {"job": tune.grid_search([self._job(job, resources, storage) for job in jobs])}
        else:
            searcher = JobSearcher(self._described(jobs, resources, storage, handed), callback.keep)
        tuner = tune.Tuner(
            ChainTrainable,
            param_space=space,
            tune_config=tune.TuneConfig(
                reuse_actors=True,
                scheduler=ListeningScheduler(listener, callback.keep),
                search_alg=searcher,
                num_samples=1 if searcher is None else -1,
                trial_dirname_creator=lambda trial: trial.config["job"]["id"],
                trial_name_creator=lambda trial: trial.config["job"]["id"],
            ),
            run_config=tune.RunConfig(
                name=name,
                storage_path=ray_folder(storage, self.study.name),
                stop=_Stopper(listener, callback),
                callbacks=[callback],
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
                verbose=0,
            ),
        )
        with HeadWatch(self.study.name) as head:
            try:
                tuner.fit()
            except (Exception, KeyboardInterrupt) as error:
                if head.lost:
                    raise head.explain() from error
                raise
        callback.raise_own_error()
        if listener.stopping():
            return
        for id in handed:
            if id not in callback.ended:
                listener.ended(id, "Ray ended the trial without a result")

    def _described(
        self, jobs: Iterable[Job], resources: Resources, storage: Storage, handed: list[str]
    ) -> Iterator[dict[str, Any]]:
        for job in jobs:
            handed.append(job.id)
            yield self._job(job, resources, storage)

    def _job(self, job: Job, resources: Resources, storage: Storage) -> dict[str, Any]:
        return {
            "id": job.id,
            "chain": job.chain.to_json(),
            "storage": str(self.study.storage),
            "data": self.study.data.model_dump(mode="json"),
            "device": GPU if resources.gpu else "cpu",
            "threads": resources.cpu,
            "workers": resources.processes,
            "gpu": resources.gpu,
            **first_part(job.chain, resources, storage.store),
            **({"board": self._board.name} if self._board else {}),
        }

    def close(self) -> None:
        """Leave the cluster, or stop it if this executor started it."""
        if self._board is not None:
            self._board.close()
        if ray.is_initialized():
            ray.shutdown()


class _Stopper(tune.Stopper):
    """Asks the driver before each step of Ray whether to stop all trials, which then leave checkpoints.

    It stops the trials, too, when the storage has failed.
    """

    def __init__(self, listener: Listener, callback: _Callback) -> None:
        self._listener = listener
        self._callback = callback

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing to pickle, as for the callback."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._callback.storage_failed or self._listener.stopping()


class _Callback(tune.Callback):
    """Passes Ray's callbacks to the driver. An exception here would abort the whole run, so the first one
    is kept and raised when the run has ended."""

    def __init__(self, listener: Listener, board: Board | None = None) -> None:
        self._listener = listener
        self._board = board
        self._started: set[str] = set()
        self.ended: set[str] = set()
        self._error: BaseException | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing to pickle: Ray pickles callbacks for its own restore, which wsss never uses."""
        return {}

    @property
    def storage_failed(self) -> bool:
        return isinstance(self._error, StorageError)

    def raise_own_error(self) -> None:
        if self._error is not None:
            raise self._error

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        job = trial.config["job"]["id"]
        if job not in self._started:
            self._started.add(job)
            self._guard(self._listener.started, job)
        if trial.config["job"]["side"]:
            self._guard(self._listener.holds, job, held_gpus(trial.config["job"]))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        job = trial.config["job"]["id"]
        # The scheduler has reported this event: Ray asks it before the callbacks.
        if result.get(STORAGE):
            self.keep(StorageError(str(result[ERROR])))
        elif result.get("done") and job not in self.ended:
            self.ended.add(job)
            self._guard(self._listener.ended, job, str(result.get(ERROR, "")))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        job = trial.config["job"]["id"]
        if job not in self.ended:
            self.ended.add(job)
            file = Path(trial.error_file) if trial.error_file else None
            text = (
                file.read_text(encoding="utf-8", errors="replace")
                if file and file.is_file()
                else "the trial's process died"
            )
            self._guard(self._listener.ended, job, text)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Ray calls it many times a second, whether trials have reported or not."""
        if self._board is not None:
            self._guard(self._board.poll, self._listener.part)

    def _guard(self, call: Any, *arguments: Any) -> None:
        try:
            call(*arguments)
        except Exception as error:
            self.keep(error)

    def keep(self, error: Exception) -> None:
        """Keep the driver's first error until the run has ended."""
        self._error = self._error or error
