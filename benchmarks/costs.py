"""Write what `plan` knows before anything was run: what the artefacts of a storage took, and each backbone.

    python launch.py run tune_configs/quickstart.yaml --storage costs --local
    python benchmarks/costs.py costs

The table is rough by nature, of one processor on one day. It goes to wsss/pipeline/forecasts/costs.json.
"""

from __future__ import annotations

import json
import sys
import time
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
    for artefact in Store(storage / "store"):
        found = measured(artefact.record)
        if found is not None and found.work.amount:
            group = (*found.work.kind, round(found.work.pixels))
            groups.setdefault(group, []).append((found, dict(artefact.record)))
    rows = []
    for group in groups.values():
        group.sort(key=lambda one: one[0].seconds / one[0].work.amount)
        found, record = group[len(group) // 2]
        row = {name: record[name] for name in ("stage", "params", "work", "device", "threads")}
        rows.append({**row, "seconds": round(found.seconds, 2), "bytes": found.bytes})
    return sorted(rows, key=lambda row: (row["stage"], json.dumps(row["params"])))


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
    content = {
        "command": "python benchmarks/costs.py STORAGE",
        "processor": processor(),
        "backbones": backbones(),
        "artefacts": artefacts(Path(sys.argv[1])),
    }
    TABLE.write_text(json.dumps(content, indent=1) + "\n")
    print(f"wrote {TABLE}: {len(content['artefacts'])} artefacts, {len(content['backbones'])} backbones")


if __name__ == "__main__":
    main()
