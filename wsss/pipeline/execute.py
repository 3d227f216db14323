"""Making what a chain lacks, one step at a time: the same code in a notebook, locally and on Ray."""

from __future__ import annotations

import random
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wsss.data.view import DataView
from wsss.errors import StageError
from wsss.pipeline.chain import Chain, Node
from wsss.pipeline.effort import backbone_of, work_facts
from wsss.pipeline.events import StageFinished, TrialProgress
from wsss.pipeline.partial import Partial
from wsss.pipeline.store import Artefact, Store
from wsss.stages import STAGES
from wsss.stages.contract import Context, Stage

CHECKPOINT_SECONDS = 10.0
RUNG_SCORE = "rung_score"
"""The metric of a step that schedulers judge a trial by."""


def run_chain(
    trial: str,
    chain: Chain,
    store: Store,
    data: DataView,
    *,
    device: str,
    threads: int,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> Generator[TrialProgress | StageFinished, None, None]:
    """Make every missing artefact of a chain, in order, and say so after each step.

    Stop iterating at any time, in any way: whoever runs the chain next goes on from the newest
    checkpoint. Closing the iterator writes one. `threads` is set for torch in this process, since it
    changes results.
    """
    torch.set_num_threads(threads)
    pending = _pending_with_whole_inputs(chain, store)
    for node in chain.nodes:
        if node.label in pending:
            yield from _make(trial, node, chain, store, data, device, threads, checkpoint_seconds)
        else:
            yield from _found(trial, node, store)


def _found(trial: str, node: Node, store: Store) -> Iterator[TrialProgress | StageFinished]:
    """Tell of a finished artefact; what a scheduler would have seen of its making is told again."""
    artefact = store.known(node.key)
    history = list(artefact.record.get("history", ())) if artefact else []
    yield from _replayed(trial, node, history, len(history))
    yield StageFinished(trial, node.label, node.key, cached=True)


def _replayed(
    trial: str, node: Node, history: Sequence[dict[str, float]], steps: int
) -> Iterator[TrialProgress]:
    for step, metrics in enumerate(history, start=1):
        if RUNG_SCORE in metrics:
            yield TrialProgress(trial, node.label, step, steps, metrics, replayed=True)


def _pending_with_whole_inputs(chain: Chain, store: Store) -> set[str]:
    """Return the labels to make, after every finished input they read was compared byte by byte."""
    while True:
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
    checkpoint_seconds: float,
) -> Iterator[TrialProgress | StageFinished]:
    inputs = {kind: _input(store, chain[label]) for kind, label in node.inputs.items()}
    about = {"inputs": {kind: artefact.digest for kind, artefact in inputs.items()}}
    with Partial(store.root, node.key) as partial:
        if store.get(node.key) is not None:  # another process finished it meanwhile
            yield from _found(trial, node, store)
            return
        stage = _build(node, inputs, data, device, threads, partial.work)
        done, history, spent = _load(stage, partial, about)
        on_disk = done
        yield from _replayed(trial, node, history, stage.steps)
        started = saved = time.monotonic()
        while done < stage.steps:
            metrics = stage.step()
            done += 1
            _check_finite(node, done, metrics)
            history.append(metrics)
            now = time.monotonic()
            if now - saved >= checkpoint_seconds:
                state = {**about, "history": history, "seconds": spent + now - started}
                partial.save(done, stage.save, state)
                saved, on_disk = time.monotonic(), done
            try:
                yield TrialProgress(trial, node.label, done, stage.steps, metrics)
            except GeneratorExit:  # stopped between two steps: whoever goes on does none of them again
                if done > on_disk:
                    state = {**about, "history": history, "seconds": spent + time.monotonic() - started}
                    partial.save(done, stage.save, state)
                raise
        folder = partial.staging()
        summary = stage.finish(folder)
        seconds = spent + time.monotonic() - started
        record = _record(node, inputs, history, summary, seconds, device, threads)
        record["work"] = work_facts(node.stage, data, backbone_of(node, chain))
        store.commit(node.key, folder, record)
        partial.remove()
    yield StageFinished(trial, node.label, node.key, cached=False, seconds=seconds)


def _input(store: Store, node: Node) -> Artefact:
    artefact = store.get(node.key, thorough=True)
    if artefact is None:
        raise StageError(f"{node.label} ({node.key[:12]}) was deleted from the storage while it was in use")
    return artefact


def _build(
    node: Node, inputs: dict[str, Artefact], data: DataView, device: str, threads: int, work: Path
) -> Stage:
    random.seed(node.seed)
    np.random.seed(node.seed % 2**32)  # noqa: NPY002 - for libraries that draw from the global state
    torch.manual_seed(node.seed)
    folders = {kind: artefact.folder for kind, artefact in inputs.items()}
    context = Context(node.params, folders, data, node.seed, device, threads, work)
    return STAGES[node.stage](context)


def _load(stage: Stage, partial: Partial, about: dict[str, Any]) -> tuple[int, list[dict[str, float]], float]:
    newest = partial.newest()
    if newest is not None and newest[2]["inputs"] == about["inputs"]:
        done, folder, state = newest
        stage.load(folder, done)
        return done, list(state["history"]), float(state["seconds"])
    partial.reset()
    return 0, [], 0.0


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
