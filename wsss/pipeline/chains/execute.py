"""Making what a chain lacks, one step at a time: the same code in a notebook, locally and on Ray."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterable

from wsss.data.view import DataView
from wsss.errors import StageError
from wsss.pipeline.chains.chain import Chain, Side
from wsss.pipeline.chains.make import Again, Bench, Making, report_found
from wsss.pipeline.chains.watching import Watch
from wsss.pipeline.events import ChainEvent, Moving
from wsss.store.folder_store import Store

CHECKPOINT_SECONDS = 10.0
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
    watch: Watch | None = None,
    side: Side | None = None,
    reported: Iterable[str] = (),
) -> Generator[ChainEvent, None, None]:
    """Make every missing artefact of a chain, in order, and yield an event after each step.

    The caller may stop iterating at any time: the next run of the chain resumes from the newest
    checkpoint. Closing the iterator writes one. Raises what `Making.make` raises, and `StageError` when
    the storage changes again and again.

    Args:
        trial: what the events call the trial.
        chain: the artefacts to make.
        store: where they are kept.
        data: the images that it is made from.
        device: a torch device string.
        threads: CPUs of the trial; set for torch in this process, since it changes results.
        workers: processes that train one network together, where a stage can.
        checkpoint_seconds: least time between two checkpoints; it grows until they take at most 2 % of the
            time. With 0 there is one after every step.
        poll_seconds: between two looks at an artefact that another run is making.
        watch: hears about once a second how far a step is, from inside of it.
        side: makes only what needs a GPU ("gpu"), or only what needs none ("cpu"), and ends with `Moving`
            before anything else; None makes everything.
        reported: labels of stages whose end an earlier part of the trial has reported: this one stays silent.

    Examples:
        A classifier for one epoch on a tiny sample, and its class activation maps:

        >>> import tempfile
        >>> from pathlib import Path
        >>> from wsss.config import DataSpec, SampleSpec
        >>> from wsss.config.params.stages import CamsParams, ClassifierParams
        >>> from wsss.data.view import open_data
        >>> from wsss.pipeline.chains.chain import Part, build_chain
        >>> folder = Path(tempfile.mkdtemp())
        >>> spec = DataSpec(dataset="sample", sample=SampleSpec(train=8, val=4, size=64))
        >>> data = open_data(spec, storage=folder)
        >>> params = ClassifierParams(backbone="mobilenet_v2", weights="none", epochs=1, batch=4, crop=32)
        >>> parts = [Part("classifier", "classifier", params), Part("cams", "cams", CamsParams())]
        >>> chain, store = build_chain(parts, data, seed=0), Store(folder / "store")
        >>> for event in run_chain("example", chain, store, data, device="cpu", threads=1):
        ...     pass
        >>> [node.label for node in chain.nodes if store.get(node.key)]
        ['classifier', 'cams', 'cams.scores']
    """
    import torch  # here: plans read chains, and need no network

    torch.set_num_threads(threads)
    bench = Bench(store, data, device, threads, workers, checkpoint_seconds, poll_seconds, watch)
    ended = set(reported)
    for attempt in itertools.count(1):
        pending = _pending_with_whole_inputs(chain, bench.store)
        for node in chain.nodes:
            if node.label in ended and node.label not in pending:
                continue
            if node.label not in pending:
                yield from report_found(trial, node, bench.store)
            elif side is not None and node.side != side:
                yield Moving(trial, node.label, node.side == "gpu", tuple(sorted(ended)))
                return
            else:
                try:
                    yield from Making(bench, trial, node, chain).make()
                except Again as reason:
                    if attempt == MOST_ATTEMPTS:
                        raise StageError(f"{node.label}: {reason}, {attempt} times in a row") from reason
                    break
            ended.add(node.label)
        else:
            return


def _pending_with_whole_inputs(chain: Chain, store: Store) -> set[str]:
    """Compare every score and every finished input byte by byte with its record; return the labels to
    make."""
    while True:
        chain.look_at_scores(store)
        pending = {node.label for node in chain.pending(store)}
        used = {label for name in pending for label in chain[name].inputs.values()} - pending
        if all(store.get(chain[label].key, thorough=True) is not None for label in sorted(used)):
            return pending
