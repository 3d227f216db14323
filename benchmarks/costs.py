"""Write what `plan` knows before anything was run: what the artefacts of a storage took, and each backbone.

    python launch.py run tune_configs/quickstart.yaml --storage costs --local
    python benchmarks/costs.py costs

    python launch.py run tune_configs/supervision_animals.yaml --storage more --local
    python benchmarks/costs.py --add more

The table has one artefact of each kind of work and each size of images: the one made at the quickest pace,
as whatever else a machine does only ever slows a stage down. `--add` keeps what the table has, backbones
too: a kind or a size that it lacks is added, a slower artefact of the same gives way. A storage of another
type of processor is refused. The table goes to wsss/pipeline/forecasts/costs.json.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from wsss.config.stage import STAGES
from wsss.models import backbone_names, create_backbone
from wsss.pipeline.chains.processor import processor
from wsss.pipeline.forecasts.effort import Work, measured
from wsss.store.folder_store import Store

TABLE = Path(__file__).parents[1] / "wsss/pipeline/forecasts/costs.json"
SIDE = 224


Row = dict[str, Any]


def artefacts(storage: Path, expected: str) -> list[Row]:
    """Return one artefact of each kind of work and each size of images: that of the quickest pace. `expected`
    is the processor that all were made on."""
    store = Store(storage / "store")
    rows = []
    for artefact in store:
        record = {**artefact.record, "work": _with_backbone(artefact.record, store)}
        found = measured(record)
        if found is None or not found.work.amount:
            continue
        if (made_on := record.get("processor", expected)) != expected:
            raise SystemExit(f"{storage}: measured on {made_on!r}, and the table is of {expected!r}")
        row = {name: record[name] for name in ("stage", "params", "work", "device", "threads")}
        rows.append({**row, "seconds": round(found.seconds, 2), "bytes": found.bytes})
    return quickest(rows)


def quickest(rows: Iterable[Row]) -> list[Row]:
    """Return the row of the quickest pace of each kind of work and each size of images, sorted by stage. One
    whose files are gone has the bytes of the largest of its group."""
    groups: dict[tuple[Any, ...], list[tuple[float, Row]]] = {}
    for row in rows:
        work = Work(row["stage"], row["params"], row["work"], row["device"], row["threads"])
        group = groups.setdefault((*work.kind, round(work.pixels)), [])
        group.append((row["seconds"] / work.amount, row))
    chosen = []
    for group in groups.values():
        row = min(group, key=lambda one: one[0])[1]
        chosen.append({**row, "bytes": row["bytes"] or max(other["bytes"] for _, other in group)})
    return sorted(chosen, key=lambda row: (row["stage"], json.dumps(row["params"]), row["threads"]))


def _with_backbone(record: Mapping[str, Any], store: Store) -> dict[str, Any]:
    """Return a record's facts of its work; the network behind a trained head is that of its classifier, which
    records of earlier versions leave out."""
    work = dict(record.get("work", {}))
    sources = [] if work.get("backbone") else record.get("inputs", {}).values()
    for source in sources:
        made = store.known(source["key"])
        if made is not None and (backbone := _network_of(made.record, store)):
            return {**work, "backbone": backbone}
    return work


def _network_of(record: Mapping[str, Any], store: Store) -> str:
    """Return the network that a record's artefact is a part of, as `wsss.pipeline.chains.facts` does."""
    if own := record["params"].get("backbone"):
        return str(own)
    kind = STAGES[record["stage"]]
    trained = any(kind.trained(kind.model().model_validate(record["params"])))
    return str(_with_backbone(record, store).get("backbone", "")) if trained else ""


def backbones() -> dict[str, float]:
    """Return the seconds of one forward pass of a photo of 224 pixels, on one thread, by backbone."""
    torch.set_num_threads(1)
    photo = torch.zeros(1, 3, SIDE, SIDE)
    found = {}
    for name in backbone_names():
        network = create_backbone(name, "none").eval()
        times = []
        for _ in range(5):
            began = time.process_time()
            with torch.inference_mode():
                network(photo)
            times.append(time.process_time() - began)
        found[name] = round(min(times), 4)
    return found


def main() -> None:
    storage = Path(sys.argv[-1])
    if "--add" in sys.argv[1:-1]:
        table = json.loads(TABLE.read_text())
        found = artefacts(storage, table["processor"])
        content = {**table, "artefacts": quickest([*table["artefacts"], *found])}
    else:
        content = {
            "command": "python benchmarks/costs.py STORAGE",
            "processor": processor(),
            "backbones": backbones(),
            "artefacts": artefacts(storage, processor()),
        }
    TABLE.write_text(json.dumps(content, indent=1) + "\n")
    print(f"wrote {TABLE}: {len(content['artefacts'])} artefacts, {len(content['backbones'])} backbones")


if __name__ == "__main__":
    main()
