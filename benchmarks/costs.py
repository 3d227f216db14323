"""Write what `plan` knows before anything was run: what the artefacts of a storage took, and each backbone.

    python launch.py run tune_configs/quickstart.yaml --storage costs --local
    python benchmarks/costs.py costs

    python launch.py run tune_configs/supervision_animals.yaml --storage more --local
    python benchmarks/costs.py --add more

`--add` keeps what the table has, backbones too, and adds the stages that it lacks: those of no quickstart.
The table is rough by nature, of one type of processor on a few days. It goes to
wsss/pipeline/forecasts/costs.json.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from wsss.models import backbone_names, create_backbone
from wsss.pipeline.chains.processor import processor
from wsss.pipeline.forecasts.effort import Measured, measured
from wsss.store.folder_store import Store

TABLE = Path(__file__).parents[1] / "wsss/pipeline/forecasts/costs.json"
SIDE = 224


def artefacts(storage: Path) -> list[dict[str, Any]]:
    """Return one artefact of each kind of work: that of the median pace."""
    groups: dict[tuple[Any, ...], list[tuple[Measured, dict[str, Any]]]] = {}
    store = Store(storage / "store")
    for artefact in store:
        record = {**artefact.record, "work": _with_backbone(artefact.record, store)}
        found = measured(record)
        if found is not None and found.work.amount:
            group = (*found.work.kind, round(found.work.pixels))
            groups.setdefault(group, []).append((found, record))
    rows = []
    for group in groups.values():
        group.sort(key=lambda one: one[0].seconds / one[0].work.amount)
        found, record = group[len(group) // 2]
        row = {name: record[name] for name in ("stage", "params", "work", "device", "threads")}
        rows.append({**row, "seconds": round(found.seconds, 2), "bytes": found.bytes})
    return sorted(rows, key=lambda row: (row["stage"], json.dumps(row["params"])))


def _with_backbone(record: Mapping[str, Any], store: Store) -> dict[str, Any]:
    """Return a record's facts of its work; the network behind a pixel head is that of its classifier, which
    records of earlier versions leave out."""
    work = dict(record.get("work", {}))
    sources = [] if work.get("backbone") else record.get("inputs", {}).values()
    for source in sources:
        made = store.known(source["key"])
        behind = {} if made is None else _with_backbone(made.record, store)
        if behind.get("backbone"):
            return {**work, "backbone": behind["backbone"]}
    return work


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


def added(table: dict[str, Any], found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the artefacts of a table, and of those found the ones of stages that it lacks."""
    known = {row["stage"] for row in table["artefacts"]}
    rows = [*table["artefacts"], *(row for row in found if row["stage"] not in known)]
    return sorted(rows, key=lambda row: (row["stage"], json.dumps(row["params"])))


def main() -> None:
    storage = Path(sys.argv[-1])
    if "--add" in sys.argv[1:-1]:
        table = json.loads(TABLE.read_text())
        content = {**table, "artefacts": added(table, artefacts(storage))}
    else:
        content = {
            "command": "python benchmarks/costs.py STORAGE",
            "processor": processor(),
            "backbones": backbones(),
            "artefacts": artefacts(storage),
        }
    TABLE.write_text(json.dumps(content, indent=1) + "\n")
    print(f"wrote {TABLE}: {len(content['artefacts'])} artefacts, {len(content['backbones'])} backbones")


if __name__ == "__main__":
    main()
