"""Making what a chain lacks, one step at a time: the same code in a notebook, locally and on Ray."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wsss.data.view import DataView
from wsss.errors import StageError, StorageError
from wsss.files import storage_error
from wsss.pipeline.chain import Chain, Node
from wsss.pipeline.effort import backbone_of, smaller_copies, work_facts
from wsss.pipeline.events import ChainEvent, StageFinished, StageWaiting, TrialProgress
from wsss.pipeline.partial import Partial
from wsss.pipeline.records import CheckpointFacts, checked, say_once
from wsss.pipeline.results import recorded_steps
from wsss.pipeline.store import Artefact, Store
from wsss.stages import STAGES
from wsss.stages.contract import Context, Stage

CHECKPOINT_SECONDS = 10.0
RUNG_SCORE = "rung_score"
"""The metric of a step that schedulers judge a trial by."""
POLL_SECONDS = 1.0
MOST_ATTEMPTS = 5
"""How often a chain is begun again because the storage changed under it."""


def run_chain(
    trial: str,
    chain: Chain,
    store: Store,
    data: DataView,
    *,
    device: str,
    threads: int,
    workers: int = 1,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    poll_seconds: float = POLL_SECONDS,
) -> Generator[ChainEvent, None, None]:
    """Make every missing artefact of a chain, in order, and say so after each step.

    Stop iterating at any time, in any way: whoever runs the chain next goes on from the newest
    checkpoint. Closing the iterator writes one. What another run is making is waited for, with a look
    every `poll_seconds`. `threads` is set for torch in this process, since it changes results;
    `workers` is how many processes train one network together, where a stage can.
    """
    torch.set_num_threads(threads)
    told: set[str] = set()
    for attempt in itertools.count(1):
        pending = _pending_with_whole_inputs(chain, store)
        for node in chain.nodes:
            if node.label in told and node.label not in pending:
                continue
            if node.label not in pending:
                yield from _found(trial, node, store)
            else:
                try:
                    yield from _make(
                        trial,
                        node,
                        chain,
                        store,
                        data,
                        device,
                        threads,
                        workers,
                        checkpoint_seconds,
                        poll_seconds,
                    )
                except _Again as reason:
                    if attempt == MOST_ATTEMPTS:
                        raise StageError(f"{node.label}: {reason}, {attempt} times in a row") from reason
                    break
            told.add(node.label)
        else:
            return


class _Again(Exception):
    """What is in the storage changed in the middle of the work: look again what is left to make."""


def _found(trial: str, node: Node, store: Store) -> Iterator[ChainEvent]:
    """Tell of a finished artefact; what a scheduler would have seen of its making is told again."""
    artefact = store.known(node.key)
    record = artefact.record if artefact else {}
    history = list(record.get("history", ()))
    yield from _replayed(trial, node, history, record.get("times", ()), len(history))
    yield StageFinished(trial, node.label, node.key, cached=True)


def _replayed(
    trial: str, node: Node, history: Sequence[dict[str, float]], times: Sequence[int], steps: int
) -> Iterator[TrialProgress]:
    for told in recorded_steps(trial, node.label, history, times, steps):
        if RUNG_SCORE in told.metrics:
            yield replace(told, replayed=True)


def _pending_with_whole_inputs(chain: Chain, store: Store) -> set[str]:
    """Return the labels to make, after every score and every finished input they read was compared byte by
    byte."""
    while True:
        chain.look_at_scores(store)
        pending = {node.label for node in chain.pending(store)}
        used = {label for name in pending for label in chain[name].inputs.values()} - pending
        if all(store.get(chain[label].key, thorough=True) is not None for label in sorted(used)):
            return pending


def _make(
    trial: str,
    node: Node,
    chain: Chain,
    store: Store,
    data: DataView,
    device: str,
    threads: int,
    workers: int,
    checkpoint_seconds: float,
    poll_seconds: float,
) -> Iterator[ChainEvent]:
    """Make one artefact, unless another run that is at it already finishes it first."""
    sources = {kind: chain[label] for kind, label in node.inputs.items()}
    keys = [source.key for source in sources.values()]
    partial = store.partial(node.key, inputs=keys)
    while not partial.acquire():
        if device.startswith("cuda"):
            torch.cuda.empty_cache()  # what earlier stages left behind is for others meanwhile
        yield StageWaiting(trial, node.label, node.key, partial.holder)
        time.sleep(poll_seconds)
        if store.has(node.key):
            break
    else:
        with partial, store.using(keys):
            if not store.has(node.key):
                try:
                    inputs = {kind: _input(store, source) for kind, source in sources.items()}
                    seconds = yield from _work(
                        trial,
                        node,
                        chain,
                        inputs,
                        store,
                        partial,
                        data,
                        device,
                        threads,
                        workers,
                        checkpoint_seconds,
                    )
                    yield StageFinished(trial, node.label, node.key, cached=False, seconds=seconds)
                    return
                except Exception as error:
                    _judge(error, node, keys, store, partial)
    yield from _found(trial, node, store)


def _judge(error: Exception, node: Node, inputs: list[str], store: Store, partial: Partial) -> None:
    """Raise what an error in the middle of the work means; return if the artefact is there after all."""
    told = storage_error(partial.folder, error) if isinstance(error, OSError) else None
    if told is not None:
        raise told from error
    if isinstance(error, _Again | StorageError):
        raise error
    if store.has(node.key):  # another run was quicker, and tidied up what was half made
        return
    if partial.lost:
        raise _Again("another run took over") from error
    if not all(store.has(key) for key in inputs):
        raise _Again("an input was deleted from the storage while it was in use") from error
    raise error


def _work(
    trial: str,
    node: Node,
    chain: Chain,
    inputs: dict[str, Artefact],
    store: Store,
    partial: Partial,
    data: DataView,
    device: str,
    threads: int,
    workers: int,
    checkpoint_seconds: float,
) -> Generator[ChainEvent, None, float]:
    """Make one artefact from its inputs, step by step; return the seconds it took in all."""
    about = {"inputs": {kind: artefact.digest for kind, artefact in inputs.items()}}
    smaller = smaller_copies(node.stage, data)
    with closing(_build(node, inputs, data, device, threads, workers, partial.work)) as stage:
        done, history, times, spent = _load(stage, partial, about)
        on_disk = done
        with partial.lease.resting():
            yield from _replayed(trial, node, history, times, stage.steps)
        started = saved = time.monotonic()
        while done < stage.steps:
            metrics = stage.step()
            done += 1
            _check_finite(node, done, metrics)
            history.append(metrics)
            times.append(int(time.time() * 1000))
            now = time.monotonic()
            if partial.lost:
                raise _Again("another run took over")
            if now - saved >= checkpoint_seconds:
                state = _state(about, history, times, spent + now - started)
                partial.save(done, stage.save, state)
                saved, on_disk = time.monotonic(), done
            try:
                with partial.lease.resting():
                    yield TrialProgress(trial, node.label, done, stage.steps, metrics, time=times[-1])
            except GeneratorExit:  # stopped between two steps: whoever goes on does none of them again
                if done > on_disk and not partial.lost:
                    state = _state(about, history, times, spent + time.monotonic() - started)
                    partial.save(done, stage.save, state)
                raise
        folder = partial.staging()
        summary = stage.finish(folder)
        seconds = spent + time.monotonic() - started
        record = _record(node, inputs, history, summary, seconds, device, threads)
        record["times"] = times
        record["work"] = work_facts(node.stage, data, backbone_of(node, chain))
        record |= smaller
        store.commit(node.key, folder, record)
        partial.remove()
        return seconds


def _input(store: Store, node: Node) -> Artefact:
    artefact = store.get(node.key, thorough=True)
    if artefact is None:
        raise _Again(f"its input {node.label} was deleted from the storage")
    return artefact


def _build(
    node: Node,
    inputs: dict[str, Artefact],
    data: DataView,
    device: str,
    threads: int,
    workers: int,
    work: Path,
) -> Stage:
    random.seed(node.seed)
    np.random.seed(node.seed % 2**32)  # noqa: NPY002 - for libraries that draw from the global state
    torch.manual_seed(node.seed)
    folders = {kind: artefact.folder for kind, artefact in inputs.items()}
    context = Context(node.params, folders, data, node.seed, device, threads, work, workers)
    return STAGES[node.stage](context)


def _state(
    about: dict[str, Any], history: list[dict[str, float]], times: list[int], seconds: float
) -> dict[str, Any]:
    return {**about, "history": history, "times": times, "seconds": seconds}


def _load(
    stage: Stage, partial: Partial, about: dict[str, Any]
) -> tuple[int, list[dict[str, float]], list[int], float]:
    newest = partial.newest()
    if newest is not None and newest[2].get("inputs") == about["inputs"]:
        done, folder, state = newest
        try:
            checked(CheckpointFacts, state)
        except ValueError as error:
            say_once(str(folder), f"is no checkpoint ({error}); the work begins again")
        else:
            stage.load(folder, done)
            history = list(state["history"])
            return done, history, list(state.get("times", [0] * len(history))), float(state["seconds"])
    partial.reset()
    return 0, [], [], 0.0


def _check_finite(node: Node, step: int, metrics: dict[str, float]) -> None:
    bad = {name: value for name, value in metrics.items() if not np.isfinite(value)}
    if bad:
        named = ", ".join(f"{name} is {value}" for name, value in bad.items())
        raise StageError(f"{node.label}, step {step}: {named}; a smaller learning rate may help")


def _record(
    node: Node,
    inputs: dict[str, Artefact],
    history: list[dict[str, float]],
    summary: dict[str, Any],
    seconds: float,
    device: str,
    threads: int,
) -> dict[str, Any]:
    return {
        "stage": node.stage,
        "version": STAGES[node.stage].version,
        "params": node.params.model_dump(mode="json"),
        "inputs": {
            kind: {"key": artefact.key, "digest": artefact.digest} for kind, artefact in inputs.items()
        },
        "seed": node.seed if STAGES[node.stage].seeded else None,
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else "cpu",
        "threads": threads,
        "seconds": round(seconds, 3),
        "history": history,
        "summary": summary,
    }
