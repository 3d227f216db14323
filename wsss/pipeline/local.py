"""Running chains in this process, one after the other: the oracle that distributed runs must equal."""

from __future__ import annotations

import os
import traceback
from collections.abc import Sequence

import torch

from wsss.config import Resources
from wsss.data.view import DataView
from wsss.errors import PreflightError, Problem, WsssError
from wsss.pipeline.execute import run_chain
from wsss.pipeline.store import Store
from wsss.pipeline.study import Job, Listener


def error_text(error: BaseException) -> str:
    """Return what to tell of an error: our own by their message, any other with its traceback."""
    if isinstance(error, WsssError):
        return str(error)
    return "".join(traceback.format_exception(error)).rstrip()


class LocalExecutor:
    """Makes chains one by one with the sweep's CPUs as threads, on the first GPU if it asks for one."""

    def __init__(self, store: Store, data: DataView) -> None:
        self.store = store
        self.data = data

    def preflight(self, resources: Sequence[Resources]) -> None:
        """Compare what every sweep asks for with this machine. Raises `PreflightError`."""
        problems = [problem for one in resources for problem in machine_problems(one)]
        if problems:
            raise PreflightError(dict.fromkeys(problems), title="this machine can't run the study")

    def run(self, jobs: Sequence[Job], resources: Resources, listener: Listener) -> None:
        """Make every chain; a job that fails does not stop the others."""
        device = "cuda" if resources.gpu else "cpu"
        for job in jobs:
            listener.started(job.id)
            error = ""
            try:
                for event in run_chain(
                    job.id,
                    job.chain,
                    self.store,
                    self.data,
                    device=device,
                    threads=resources.cpu,
                    workers=resources.processes,
                ):
                    listener.event(event)
            except Exception as reason:  # one trial's bad luck is not the study's
                error = error_text(reason)
            listener.ended(job.id, error)


def machine_problems(resources: Resources) -> list[Problem]:
    """Return why a trial could never run on this machine."""
    problems = []
    gpus = torch.cuda.device_count()
    if resources.gpu > gpus:
        message = f"a trial asks for {resources.gpu:g} GPU, but this machine has {gpus}"
        problems.append(Problem("resources.gpu", message, "`-s sweeps.NAME.resources.gpu=0` uses the CPU"))
    cpus = os.cpu_count() or 1
    if resources.cpu > cpus:
        message = f"a trial asks for {resources.cpu} CPUs, but this machine has {cpus}"
        problems.append(Problem("resources.cpu", message, f"give at most {cpus}"))
    return problems
