"""Running chains on Ray: every job is a trial of one Ray Tune run."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wsss.tuning.cluster import check_cluster, connect, ray_folder  # sets Ray's environment first

import ray  # isort: skip
from ray import tune  # isort: skip

from wsss.config import Resources, Study
from wsss.pipeline.study import Job, Listener
from wsss.tuning.trainable import ERROR, EVENT, ChainTrainable, event_from_json

RETRIES = 3
"""How often a trial is started again after its process or its node died."""


class RayExecutor:
    """Makes chains in parallel on a Ray cluster; joins or starts it when there is something to make."""

    def __init__(self, study: Study, address: str | None = None) -> None:
        self.study = study
        self.address = address
        self._runs = 0

    def preflight(self, resources: Sequence[Resources]) -> None:
        """Join or start Ray; refuse a trial that no node could hold. Raises `PreflightError`."""
        connect(self.address)
        check_cluster(resources)

    def run(self, jobs: Sequence[Job], resources: Resources, listener: Listener) -> None:
        """Make every chain, as many at a time as the cluster holds."""
        self._runs += 1
        folder = ray_folder(self.study.storage, self.study.name)
        name = f"run-{self._runs}"
        shutil.rmtree(folder / name, ignore_errors=True)
        callback = _Callback(listener)
        tuner = tune.Tuner(
            tune.with_resources(ChainTrainable, {"cpu": resources.cpu, "gpu": resources.gpu}),
            param_space={"job": tune.grid_search([self._job(job, resources) for job in jobs])},
            tune_config=tune.TuneConfig(
                reuse_actors=True,
                trial_dirname_creator=lambda trial: trial.config["job"]["id"],
                trial_name_creator=lambda trial: trial.config["job"]["id"],
            ),
            run_config=tune.RunConfig(
                name=name,
                storage_path=str(folder),
                callbacks=[callback],
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
                verbose=0,
            ),
        )
        tuner.fit()
        callback.raise_own_error()
        for job in jobs:
            if job.id not in callback.ended:
                listener.ended(job.id, "Ray ended the trial without a result")

    def _job(self, job: Job, resources: Resources) -> dict[str, Any]:
        return {
            "id": job.id,
            "chain": job.chain.to_json(),
            "storage": str(self.study.storage),
            "data": self.study.data.model_dump(mode="json"),
            "device": "cuda" if resources.gpu else "cpu",
            "threads": resources.cpu,
            "workers": resources.processes,
        }

    def close(self) -> None:
        """Leave the cluster, or stop the one that was started."""
        if ray.is_initialized():
            ray.shutdown()


class _Callback(tune.Callback):
    """Turns Ray's callbacks into the driver's. An exception here would abort the whole run, so it
    is kept until the run has ended."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._started: set[str] = set()
        self.ended: set[str] = set()
        self._error: BaseException | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Ray pickles its callbacks for a restore that is never used here: nothing of ours goes along."""
        return {}

    def raise_own_error(self) -> None:
        if self._error is not None:
            raise self._error

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        job = trial.config["job"]["id"]
        if job not in self._started:
            self._started.add(job)
            self._guard(self._listener.started, job)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        job = trial.config["job"]["id"]
        if EVENT in result:
            self._guard(self._listener.event, event_from_json(result[EVENT]))
        elif result.get("done") and job not in self.ended:
            self.ended.add(job)
            self._guard(self._listener.ended, job, str(result.get(ERROR, "")))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        job = trial.config["job"]["id"]
        if job not in self.ended:
            self.ended.add(job)
            file = Path(trial.error_file) if trial.error_file else None
            text = file.read_text() if file and file.is_file() else "the trial's process died"
            self._guard(self._listener.ended, job, text)

    def _guard(self, call: Any, *arguments: Any) -> None:
        try:
            call(*arguments)
        except Exception as error:  # re-raised by raise_own_error
            self._error = self._error or error
