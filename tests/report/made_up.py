"""A storage with scores and records that were made up, in the form in which the product writes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from wsss.files import describe_files, write_json
from wsss.metrics import error_split, summary
from wsss.stages.scoring.scores import write_arrays
from wsss.store.folder_store import Store
from wsss.store.ledger import Ledger

GOOD = [[90, 0], [0, 10]]  # IoU 1 and 1
FAIR = [[80, 10], [0, 10]]  # IoU 80/90 and 10/20
POOR = [[90, 0], [10, 0]]  # IoU 90/100 and 0
CLASSES = ["cat", "dog"]
FAIR_MIOU = (80 / 90 + 10 / 20) / 2
POOR_MIOU = (90 / 100 + 0) / 2


class Storage:
    """A storage with scores that were made up."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = Store(root / "store")
        self.count = 0
        self.allow: tuple[str, ...] = ()
        self.data: dict[str, Any] = {}

    def scores(
        self,
        report: list[list[list[int]]],
        *,
        ids: list[str] | None = None,
        floor: float = 0.25,
        kind: str = "cams",
        classes: Sequence[str] = CLASSES,
        chosen_on: Sequence[str] = (),
    ) -> str:
        """Write a score artefact with these confusions, one an image; return its key.

        Masks have no threshold; segmentations none, nor a floor, and are scored on `test`.
        """
        key, folder = self._new()
        counts = np.array(report, np.int32)
        names = ids or [f"image-{n}" for n in range(len(counts))]
        name = "test" if kind == "segmentations" else "report"
        select = {"select_ids": np.asarray(chosen_on)} if chosen_on else {}
        write_arrays(folder / "confusions.npz", {name: counts, f"{name}_ids": np.asarray(names), **select})
        total = counts.sum(0)
        classes = list(classes)[: len(total) - 1]
        part = {
            **summary(total, classes),
            **error_split(total),
            "boundary_f": 0.25,
            "images": len(counts),
        }
        others = {"select": {**part, "miou": 0.4}}
        if kind != "segmentations":
            part["floor"] = floor
        if kind == "cams":
            part |= {"threshold": 0.3, "miou_at_0.15": 0.11, "miou_at_0.20": 0.22, "area": 0.33, "pxap": 0.44}
            others["published"] = {**part, "miou": 0.77}
        write_json(folder / "scores.json", {"kind": kind, "classes": classes, name: part, **others})
        files = describe_files(folder, ["confusions.npz", "scores.json"])
        write_json(folder / "artefact.json", {"stage": "scores", "files": files, "summary": {}})
        return key

    def network(self, stage: str, summary: dict[str, Any] | None = None, **params: Any) -> str:
        """Write the record of a trained network, without its files; return its key."""
        key, folder = self._new()
        given = {"backbone": "efficientnet_lite0", "weights": "package", **params}
        record = {"stage": stage, "files": {}, "params": given, "summary": summary or {}}
        write_json(folder / "artefact.json", record)
        return key

    def made(self, stage: str, inputs: dict[str, str], **params: Any) -> str:
        """Write the record of what a stage made of other artefacts, without its files; return its key."""
        key, folder = self._new()
        sources = {kind: {"key": source, "digest": ""} for kind, source in inputs.items()}
        record = {"stage": stage, "files": {}, "params": params, "inputs": sources, "summary": {}}
        write_json(folder / "artefact.json", record)
        return key

    def _new(self) -> tuple[str, Path]:
        self.count += 1
        key = f"{self.count:02d}" + 62 * "a"
        folder = self.store.folder(key)
        folder.mkdir(parents=True)
        return key, folder

    def study(self, name: str, arms: Sequence[str], **controls: str) -> None:
        """Write the file of a study with these arms; `controls` maps an arm to its control."""
        stages: list[Any] = ["classifier", "cams"]
        named = {
            arm: {"stages": stages, **({"control": controls[arm]} if arm in controls else {})} for arm in arms
        }
        data = {"dataset": "sample", "allow": list(self.allow), **self.data}
        study = {"name": name, "data": data, "seed": 0, "sweeps": [{"name": "cam", "arms": named}]}
        study |= {"retain": "kept", "tracking": {"uri": None}}
        (self.root / "studies" / name / "study.yaml").write_text(yaml.safe_dump(study))

    def twice(self, arm: str, report: list[list[list[int]]], **fields: Any) -> None:
        """Record a configuration with two seeds that score alike: differences of it are tested."""
        for seed in (1, 2):
            id = f"cam-{arm}-000"
            own = {"id": f"{id}-s{seed}", "configuration": id, "seed": seed}
            self.trial(arm, self.scores(report), **own, **fields)

    def trial(self, arm: str, key: str | None, **fields: Any) -> None:
        """Record a finished trial of study `made`, whose CAMs have these scores."""
        study = fields.pop("study", "made")
        ledger = Ledger(self.root / "studies" / study)
        id = fields.pop("id", f"cam-{arm}-000")
        kept, status = fields.pop("kept", True), fields.pop("status", "done")
        fields = {
            "sweep": "cam", "seed": 0, "params": {}, "configuration": id, "upstream": "", "method": arm,
            "backbone": "b", "keys": {"cams.scores": key} if key else {}, **fields,
        }  # fmt: skip
        ledger.append("trial", id=id, arm=arm, **fields)
        if status != "started":
            ledger.append("end", id=id, status=status, metrics={}, error="", seconds=1.0)
        if kept:
            ids = [t.id for t in ledger.trials().values() if t.kept and t.sweep == fields["sweep"]]
            ledger.append("kept", sweep=fields["sweep"], ids=[*ids, id], keys=[])
        if not (self.root / "studies" / study / "study.yaml").exists():
            self.study(study, ["any"])
