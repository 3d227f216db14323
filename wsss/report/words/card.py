"""The model card of a trained network: what it does, what it was taught with, what it scored, and where."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from wsss.config.text.location import Location
from wsss.config.text.yaml_text import dump_yaml
from wsss.report.compare import compare
from wsss.report.comparison import Comparison, Row
from wsss.report.words.titles import arm_title, initial_weights, step_title, supervision_text
from wsss.store.ledger import TrialRecord
from wsss.store.storage import open_storage

TAGS = ["weakly-supervised-semantic-segmentation", "semantic-segmentation", "deeplab"]
USE = """\
```python
import wsss

network = wsss.load("FOLDER")  # the folder of this file
mask = network.predict("photo.jpg")  # uint8[H, W]: 0 is background
```

or `wsss predict PHOTOS --model FOLDER -o masks`."""
LICENCE = (
    "Nobody has stated a licence for these weights: write `license:` at the top of this file. The licences "
    "of the photos and of the initial weights bind, too."
)


def model_card(name: str, classes: Sequence[str], record: Mapping[str, Any], location: Location) -> str:
    """Return Markdown with the YAML head that model hubs read.

    Args:
        name: what the card calls the model.
        classes: the foreground classes, that at position k has id k + 1.
        record: the record of its artefact; empty for a network that came as a file.
        location: the storage whose studies may have scored it.
    """
    found = _found(str(record.get("key", "")), location)
    lines = [f"# {name}", "", "A segmentation network that labels every pixel of a photo:", ""]
    lines += ["| id | class |", "|---|---|", "| 0 | background |"]
    lines += [f"| {number} | {label} |" for number, label in enumerate(classes, start=1)]
    lines += ["", "## Use", "", USE, "", "## Training", "", *_training(record, found), ""]
    results: list[dict[str, Any]] = []
    lines += ["## Scores", ""]
    if found is None or not any(found[2].cells):
        lines += ["No study has scored it.", ""]
    else:
        _, comparison, row = found
        lines += [*_scores(comparison, row), ""]
        results = list(_results(comparison, row))
    lines += ["## Licence", "", LICENCE, ""]
    backbone = record.get("params", {}).get("backbone")
    head: dict[str, Any] = {
        "library_name": "wsss",
        "pipeline_tag": "image-segmentation",
        "tags": [*TAGS, *([str(backbone)] if backbone else [])],
    }
    if results:
        head["model-index"] = [{"name": name, "results": results}]
    return f"---\n{dump_yaml(head)}---\n\n" + "\n".join(lines)


Found = tuple[TrialRecord, Comparison, Row]


def _found(key: str, location: Location) -> Found | None:
    """Return the trial that has scored a network last in its chain, its study's comparison, and its row."""
    storage = open_storage(location)
    trials = [
        (name, trial)
        for name in (storage.study_names() if key else ())
        for trial in storage.ledger(name).trials().values()
        if key in trial.keys.values() and trial.status == "done"
    ]
    for name, trial in sorted(trials, key=lambda one: -len(one[1].keys)):
        comparison = compare(location, [name])
        for row in comparison.rows:
            if row.arm == trial.arm and row.configuration == trial.configuration:
                return trial, comparison, row
    return None


def _training(record: Mapping[str, Any], found: Found | None) -> Iterator[str]:
    if found is not None:
        trial, comparison, row = found
        yield f"- trial `{trial.id}` of the study `{row.study}`, seed {trial.seed}"
        yield f"- arm: {arm_title(row, comparison)}"
        yield f"- stages: {', '.join(f'`{label}`' for label in trial.keys)}"
        taught = "; ".join([supervision_text(row.supervision), *row.pixel_labels])
        yield f"- supervision: {taught or 'unknown'}"
        if row.networks:
            yield f"- initial weights: {initial_weights(row.networks)}"
    if not record:
        yield "Nothing is known of it: it came as a file."
        return
    summary = record.get("summary", {})
    if "images" in summary:
        yield f"- images: {summary['images']}"
    machine = [str(record[name]) for name in ("device", "processor", "torch") if record.get(name)]
    yield f"- made in {record.get('seconds', 0):.0f} s ({', '.join(machine)})"
    yield f"- artefact `{record['key']}`, its parameters:"
    yield ""
    yield "```json"
    yield json.dumps(record.get("params", {}), indent=1, sort_keys=True)
    yield "```"


def _scores(comparison: Comparison, row: Row) -> Iterator[str]:
    yield "| step | mIoU | 95 % interval | images |"
    yield "|---|---|---|---|"
    for step, cell in row.cells.items():
        protocol = comparison.protocols[step]
        given = "image-level labels given" if protocol.labels else "no labels given"
        interval = f"{100 * cell.low:.1f} to {100 * cell.high:.1f}"
        images = f"{protocol.images} `{protocol.part}`, {given}"
        yield f"| {step_title(step)} | {100 * cell.miou:.1f} | {interval} | {images} |"
    yield ""
    seeds = f"Means over the seeds {', '.join(map(str, row.seeds))}. " if len(row.seeds) > 1 else ""
    yield f"{seeds}In percent; the background counts as a class. Intervals come from resampling images."


def _results(comparison: Comparison, row: Row) -> Iterator[dict[str, Any]]:
    for step, cell in row.cells.items():
        protocol = comparison.protocols[step]
        if protocol.labels:  # the network has no say in which classes there are
            continue
        yield {
            "task": {"type": "image-segmentation"},
            "dataset": {"name": row.study, "type": row.study, "split": protocol.part},
            "metrics": [{"type": "mean_iou", "value": round(cell.miou, 4)}],
        }
