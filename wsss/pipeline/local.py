"""Running chains in this process, one after the other: the oracle that distributed runs must equal."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterable, Sequence
from contextlib import closing

from wsss.config import Resources
from wsss.data.view import DataView
from wsss.errors import StorageError, WsssError
from wsss.pipeline.chains.execute import run_chain
from wsss.pipeline.check import Check
from wsss.pipeline.events import ChainEvent, StageFinished, TrialProgress
from wsss.pipeline.executor import Job, Listener
from wsss.pipeline.forecasts.effort import is_kind_of_gpu
from wsss.store.folder_store import Store


def error_text(error: BaseException) -> str:
    """Return the text of an error: the message of our own, the traceback of any other."""
    if isinstance(error, WsssError):
        return str(error)
    return "".join(traceback.format_exception(error)).rstrip()


class LocalExecutor:
    """Makes chains one by one with the sweep's CPUs as threads, on the first GPU if it asks for one."""

    def __init__(self, store: Store, data: DataView) -> None:
        self.store = store
        self.data = data
        self.watched = False

    def preflight(self, resources: Sequence[Resources]) -> list[Check]:
        """Compare what every sweep asks for with this machine."""
        return list(dict.fromkeys(check for one in resources for check in machine_checks(one)))

    def run(self, jobs: Iterable[Job], resources: Resources, listener: Listener) -> None:
        """Make every chain until the listener stops it. A job that fails does not stop the others."""
        device = "cuda" if resources.gpu else "cpu"
        for job in jobs:
            if listener.stopping():
                return
            listener.started(job.id)
            error = ""
            last = job.chain.nodes[-1].label
            events = run_chain(
                job.id,
                job.chain,
                self.store,
                self.data,
                device=device,
                threads=resources.cpu,
                workers=resources.processes,
                watch=listener.part if self.watched else None,
            )
            try:
                with closing(events):  # leaves a checkpoint
                    for event in events:
                        if not listener.event(event):
                            break
                        if not _is_last(event, last) and listener.stopping():
                            return
            except StorageError:  # every other trial would meet it too
                raise
            except Exception as reason:  # one trial's bad luck is not the study's
                error = error_text(reason)
            listener.ended(job.id, error)


def _is_last(event: ChainEvent, label: str) -> bool:
    """Tell whether an event is the last of a chain; only its last artefact is still to be written."""
    if isinstance(event, StageFinished):
        return event.stage == label
    return isinstance(event, TrialProgress) and event.stage == label and event.step == event.steps


def machine_checks(resources: Resources) -> list[Check]:
    """Compare what a trial asks for with this machine."""
    wants = f"a trial asks for {resources.cpu} CPUs"
    cpus = os.cpu_count() or 1
    if resources.cpu > cpus:
        found = [Check("CPUs", "bad", f"{wants}, but this machine has {cpus}", f"give at most {cpus}")]
    else:
        found = [Check("CPUs", "ok", f"{wants}, this machine has {cpus}")]
    if not resources.gpu:
        return found
    import torch

    gpus = torch.cuda.device_count()
    wants = f"a trial asks for {resources.gpu:g} GPU"
    if resources.gpu > gpus:
        hint = "`-s sweeps.*.resources.gpu=0` uses the CPU"
        found.append(Check("GPUs", "bad", f"{wants}, but this machine has {gpus}", hint))
    elif resources.gpu:
        found.append(_card_check(wants, gpus, resources.accelerator))
    return found


def _card_check(wants: str, gpus: int, accelerator: str | None) -> Check:
    """Compare the kind of GPU that a trial asks for with the first of this machine, which it would get."""
    import torch

    card = torch.cuda.get_device_name(0)
    if accelerator and not is_kind_of_gpu(card, accelerator):
        hint = "leave `resources.accelerator` out, or run on a cluster that has one"
        return Check("GPUs", "bad", f"{wants} of kind {accelerator}, but this machine's is {card}", hint)
    return Check("GPUs", "ok", f"{wants}, this machine has {gpus}")
