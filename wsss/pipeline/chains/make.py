"""Making one artefact: step by step, with checkpoints, under a lease, unless another run is quicker."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from wsss.config.stage import STAGES
from wsss.data.view import DataView
from wsss.errors import Problem, StageError, StorageError, first_line
from wsss.files import storage_error
from wsss.models.computing.precision import Precision, card_facts
from wsss.pipeline.chains.chain import Chain, Node
from wsss.pipeline.chains.facts import smaller_copies, work_facts
from wsss.pipeline.chains.processor import processor
from wsss.pipeline.chains.progress import Metrics, Progress
from wsss.pipeline.chains.watching import Watch, teller
from wsss.pipeline.events import (
    ChainEvent,
    StageFinished,
    StageSaid,
    StageWaiting,
    TrialProgress,
    recorded_steps,
)
from wsss.stages.contract import Context, Stage
from wsss.stages.out_of_memory import described, is_out_of_memory
from wsss.stages.step_metrics import RUNG_SCORE
from wsss.store.artefact import Artefact
from wsss.store.folder_store import Store
from wsss.store.partial import Partial


class Again(Exception):
    """The storage changed in the middle of the work: the chain looks again at what it lacks."""


@dataclass(frozen=True)
class Bench:
    """Where and with what artefacts are made.

    `device` is the torch device of networks; `threads` the CPUs of the trial, which change results;
    `workers` the processes that train one network together, where a stage can. A checkpoint is written every
    `checkpoint_seconds`, or less often where that would take more than 2 % of the time (0: after every step);
    while another run makes the artefact, this one looks for it every `poll_seconds`. `watch` hears how far
    a step is.
    """

    store: Store
    data: DataView
    device: str
    threads: int
    workers: int
    checkpoint_seconds: float
    poll_seconds: float
    watch: Watch | None = None


class Making:
    """One artefact of a chain on a bench.

    Args:
        bench: where it is made.
        trial: what its events call the trial.
        node: what is made.
        chain: where its inputs stand.
    """

    def __init__(self, bench: Bench, trial: str, node: Node, chain: Chain) -> None:
        self._bench = bench
        self._trial = trial
        self._node = node
        self._chain = chain
        # What needs no network is made by the CPU, in the middle of a chain on a GPU, too.
        self._device = bench.device if node.side == "gpu" else "cpu"
        self._sources = {kind: chain[label] for kind, label in node.inputs.items()}

    def make(self) -> Iterator[ChainEvent]:
        """Make the artefact, unless another run finishes it first.

        Raises `Again` when the storage changed meanwhile, `StageError`, `StorageError`, and what the stage
        raises.
        """
        node, store = self._node, self._bench.store
        keys = [source.key for source in self._sources.values()]
        partial = store.partial(node.key, inputs=keys)
        while not partial.acquire():
            yield StageWaiting(self._trial, node.label, node.key, partial.holder)
            time.sleep(self._bench.poll_seconds)
            if store.has(node.key):
                break
        else:
            with partial, store.using(keys):
                if not store.has(node.key):
                    try:
                        seconds = yield from self._work(partial)
                        yield StageFinished(self._trial, node.label, node.key, cached=False, seconds=seconds)
                        return
                    except Exception as error:
                        self._explain(error, keys, partial)
                    finally:
                        self._give_memory_back()
                partial.remove()  # the other run did so before this one began here again
        yield from report_found(self._trial, node, store)

    def _give_memory_back(self) -> None:
        """Return this stage's GPU memory: other trials may need it, and later stages measure what is free."""
        if self._device.startswith("cuda"):
            import torch

            gc.collect()
            torch.cuda.empty_cache()

    def _explain(self, error: Exception, inputs: Sequence[str], partial: Partial) -> None:
        """Raise the error that explains this one; return if another run has made the artefact meanwhile."""
        store = self._bench.store
        full = storage_error(partial.folder, error) if isinstance(error, OSError) else None
        if full is not None:
            raise full from error
        if isinstance(error, Again | StorageError):
            raise error
        if store.has(self._node.key):  # another run was quicker, and tidied up what was half made
            return
        if partial.lost:
            raise Again("another run took over") from error
        if not all(store.has(key) for key in inputs):
            raise Again("an input was deleted from the storage while it was in use") from error
        if is_out_of_memory(error):  # it would run out again: the driver doesn't repeat our own errors
            message = described(self._node.label, self._node.params, self._device)
            raise StageError(Problem("", message, first_line(error))) from error
        raise error

    def _work(self, partial: Partial) -> Generator[ChainEvent, None, float]:
        """Make the artefact from its inputs, step by step; return the seconds it took in all."""
        inputs = {kind: self._input(source) for kind, source in self._sources.items()}
        about = {"inputs": {kind: artefact.digest for kind, artefact in inputs.items()}}
        smaller = smaller_copies(self._node, self._bench.data)
        with closing(self._build(inputs, partial.work)) as stage:
            progress = Progress(stage, partial, about, self._bench.checkpoint_seconds)
            if self._bench.watch is not None:
                about_stage = self._trial, self._node.label
                stage.on_part = teller(self._bench.watch, *about_stage, lambda: (progress.done, stage.steps))
            with partial.lease.resting():
                earlier = progress.history, progress.times, stage.steps
                yield from _replayed(recorded_steps(self._trial, self._node.label, *earlier))
            progress.begin()

            def tell(event: ChainEvent) -> Iterator[ChainEvent]:
                try:
                    with partial.lease.resting():
                        yield event
                except GeneratorExit:  # stopped between two steps: the next run does none of them again
                    if not progress.all_saved and not partial.lost:
                        progress.save()
                    raise

            while progress.done < stage.steps:
                metrics = stage.step()
                if metrics is None:  # a program is at work
                    if partial.lost:
                        raise Again("another run took over")
                    if not progress.has_checkpoint:  # without one the next run empties `work`
                        progress.save()
                    yield from tell(StageSaid(self._trial, self._node.label, stage.said))
                    continue
                self._check_finite(progress.done + 1, metrics)
                progress.add(metrics)
                if partial.lost:
                    raise Again("another run took over")
                if progress.due:
                    progress.save()
                about_step = self._trial, self._node.label, progress.done, stage.steps, metrics
                yield from tell(TrialProgress(*about_step, time=progress.times[-1]))
            folder = partial.staging()
            summary = stage.finish(folder)
            seconds = progress.seconds
            record = {**self._record(inputs, progress, seconds, summary, stage.precision), **smaller}
            self._bench.store.commit(self._node.key, folder, record)
            partial.remove()
            return seconds

    def _input(self, source: Node) -> Artefact:
        artefact = self._bench.store.get(source.key, thorough=True)
        if artefact is None:
            raise Again(f"its input {source.label} was deleted from the storage")
        return artefact

    def _build(self, inputs: Mapping[str, Artefact], work: Path) -> Stage:
        import torch

        node, bench = self._node, self._bench
        work_of: type[Stage] = STAGES[node.stage].stage()  # what it imports may draw numbers too
        random.seed(node.seed)
        np.random.seed(node.seed % 2**32)  # noqa: NPY002 - for libraries that draw from the global state
        torch.manual_seed(node.seed)
        folders = {kind: artefact.folder for kind, artefact in inputs.items()}
        return work_of(
            Context(
                params=node.params,
                inputs=folders,
                data=bench.data,
                seed=node.seed,
                device=self._device,
                threads=bench.threads,
                work=work,
                workers=bench.workers,
            )
        )

    def _check_finite(self, step: int, metrics: Metrics) -> None:
        bad = {name: value for name, value in metrics.items() if not np.isfinite(value)}
        if bad:
            named = ", ".join(f"{name} is {value}" for name, value in bad.items())
            raise StageError(f"{self._node.label}, step {step}: {named}; a smaller learning rate may help")

    def _record(
        self,
        inputs: Mapping[str, Artefact],
        progress: Progress,
        seconds: float,
        summary: dict[str, Any],
        precision: Precision | None,
    ) -> dict[str, Any]:
        import torch

        node, bench = self._node, self._bench
        cuda = self._device.startswith("cuda")
        computed_in = {} if precision is None else precision.facts(torch.device(self._device))
        return {
            "stage": node.stage,
            "version": STAGES[node.stage].version,
            "params": node.params.model_dump(mode="json"),
            "inputs": {
                kind: {"key": artefact.key, "digest": artefact.digest} for kind, artefact in inputs.items()
            },
            "seed": node.seed if STAGES[node.stage].seeded else None,
            "torch": torch.__version__,
            "processor": processor(),
            "device": torch.cuda.get_device_name() if cuda else "cpu",
            **({"gpu": {**card_facts(self._device), **computed_in}} if cuda else {}),
            "threads": bench.threads,
            "seconds": round(seconds, 3),
            "history": progress.history,
            "times": progress.times,
            "summary": summary,
            "work": work_facts(node, self._chain, bench.data),
        }


def report_found(trial: str, node: Node, store: Store) -> Iterator[ChainEvent]:
    """Report a finished artefact, after the steps of its making that a scheduler judges by.

    Args:
        trial: what the events call the trial.
        node: the artefact's place in the chain.
        store: where it is.
    """
    artefact = store.known(node.key)
    record = artefact.record if artefact else {}
    history = list(record.get("history", ()))
    yield from _replayed(recorded_steps(trial, node.label, history, record.get("times", ()), len(history)))
    yield StageFinished(trial, node.label, node.key, cached=True)


def _replayed(steps: Iterable[TrialProgress]) -> Iterator[TrialProgress]:
    """Report the earlier steps that a scheduler judges by once more."""
    for step in steps:
        if RUNG_SCORE in step.metrics:
            yield replace(step, replayed=True)
