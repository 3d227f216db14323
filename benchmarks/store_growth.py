"""How a storage behaves as it grows: time per artefact with a thousand and with ten thousand of them.

    python benchmarks/store_growth.py [--sizes 1000 10000] [--s3 URI]

Prints microseconds per artefact (per trial for `pending` and the ledger). Equal columns mean that
nothing is quadratic. Target: nothing takes twice as long in the largest storage as in the smallest, and
memory doesn't grow by more than 10 KiB an artefact.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from targets import conclude, target

from wsss.config.params.stages import Params
from wsss.files import sha256_json
from wsss.pipeline.chains.chain import Chain, Node
from wsss.pipeline.past.retention import evictable, wanted_keys
from wsss.store.objects.storage import ObjectStorage
from wsss.store.storage import Storage

STAGES = 5
RATIO = 2.0
NOISE = 20.0
"""Microseconds that may come and go."""
KIB_AN_ARTEFACT = 10.0


def fill(storage: Storage, trials: int) -> list[Chain]:
    """Commit `trials` chains of five small artefacts, of which every tenth trial is kept."""
    chains = []
    ledger = storage.ledger("big")
    fixed: dict[str, Any] = {
        "arm": "a",
        "seed": 0,
        "params": {},
        "upstream": "",
        "method": "",
        "backbone": "",
    }
    for number in range(trials):
        nodes: list[Node] = []
        inputs: dict[str, Any] = {}
        for place in range(STAGES):
            key = sha256_json([number, place])
            before = {f"s{place - 1}": nodes[-1].label} if nodes else {}
            nodes.append(Node(f"s{place}", f"s{place}", Params(), before, key, 0))
            with storage.store.partial(key) as partial:
                folder = partial.staging()
                (folder / "file").write_bytes(key.encode())
                record = {"stage": f"s{place}", "inputs": inputs, "seconds": 0.0}
                made = storage.store.commit(key, folder, record)
                partial.remove()
            inputs = {f"s{place}": {"key": key, "digest": made.digest}}
        chains.append(Chain(tuple(nodes)))
        keys = {node.label: node.key for node in nodes}
        name = f"t-{number:05d}"
        ledger.append("trial", id=name, sweep="s", configuration=name, keys=keys, **fixed)
    kept = [node.key for chain in chains[::10] for node in chain.nodes]
    ledger.append("kept", sweep="s", ids=[f"t-{n:05d}" for n in range(0, trials, 10)], keys=kept)
    return chains


def timed(call: Callable[[], Any], count: int) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) / count * 1e6


def measure(storage: Storage, size: int) -> dict[str, float]:
    chains: list[Chain] = []
    trials = size // STAGES
    found = {"commit": timed(lambda: chains.extend(fill(storage, trials)), size)}
    fresh = (
        ObjectStorage(storage.objects.uri, cache=storage.local / "fresh")
        if isinstance(storage, ObjectStorage)
        else Storage(storage.location, storage.local)
    )
    found["iterate"] = timed(lambda: sum(1 for _ in fresh.store), size)
    found["pending / trial"] = timed(lambda: [chain.pending(storage.store) for chain in chains], trials)
    found["ledger / trial"] = timed(lambda: storage.ledger("big").trials(), trials)
    found["wanted keys"] = timed(lambda: wanted_keys(storage), size)
    found["evictable"] = timed(lambda: list(evictable(storage, retain=True)), size)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10000], help="numbers of artefacts")
    parser.add_argument("--s3", help="measure an object storage at this address instead of a folder")
    chosen = parser.parse_args()
    columns, memories = [], []
    process = psutil.Process()
    for size in chosen.sizes:
        with tempfile.TemporaryDirectory() as folder:
            storage = Storage(Path(folder), Path(folder))
            if chosen.s3:
                address, _, query = chosen.s3.partition("?")
                storage = ObjectStorage(f"{address}/{size}?{query}", cache=Path(folder))
            columns.append(measure(storage, size))
            memories.append(process.memory_info().rss / 2**20)
            gc.collect()
        print(f"{size} artefacts: {memories[-1]:.0f} MiB")
    print(f"{'µs':>16}" + "".join(f"{size:>10}" for size in chosen.sizes))
    for name in columns[0]:
        print(f"{name:>16}" + "".join(f"{column[name]:10.0f}" for column in columns))
    first, last = columns[0], columns[-1]
    worst = max(first, key=lambda name: last[name] / max(first[name], NOISE))
    ratio = last[worst] / max(first[worst], NOISE)
    target(ratio <= RATIO, f"time: at most {RATIO:g} times as long, found {ratio:.2f} ({worst})")
    grown = (memories[-1] - memories[0]) * 1024 / max(1, chosen.sizes[-1] - chosen.sizes[0])
    target(
        grown <= KIB_AN_ARTEFACT, f"memory: at most {KIB_AN_ARTEFACT:g} KiB an artefact, found {grown:.1f}"
    )
    conclude()


if __name__ == "__main__":
    main()
