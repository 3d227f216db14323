"""`compare --published`: published numbers and our rows of the same protocol in one table."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from wsss.report.words.notes import published_notes
from wsss.report.words.titles import PIXEL_LABELS
from wsss.report.words.unequal import marks

if TYPE_CHECKING:
    from wsss.report.comparison import Comparison
    from wsss.report.published import Line, Published

OWN = "this storage: "


def published_lines(published: Published) -> tuple[list[str], list[list[str]]]:
    """Return the header and the lines of the table, in percent. A "?" stands behind unverified scores."""
    titles = _titles(published)
    header = ["method", "source", "backbone", "initial weights", "supervision", "images", *titles.values()]
    lines = []
    for line in published.lines:
        scores = [_score(line, name) for name in titles]
        source = f"{OWN}{line.source}" if line.own else line.source
        if line.pixel_labels:
            source += f" ({PIXEL_LABELS})"
        images = "" if line.images is None else str(line.images)
        supervision = ", ".join(line.supervision)
        lines.append([line.method, source, line.backbone, line.initial_weights, supervision, images, *scores])
    return header, lines


def published_records(published: Published, comparison: Comparison) -> list[dict[str, Any]]:
    """Return a record a line for CSV: scores by the names of their protocols, as shares in [0, 1]; of our
    rows, too, what makes these hard to compare."""
    unequal = " ".join(marks(comparison))
    return [
        {
            "method": line.method,
            "source": f"{OWN}{line.source}" if line.own else line.source,
            "pixel_labels": "; ".join(line.pixel_labels),
            "backbone": line.backbone,
            "initial_weights": line.initial_weights,
            "supervision": ", ".join(line.supervision),
            "images": line.images,
            **{name: line.scores.get(name) for name in _titles(published)},
            "unverified": ", ".join(line.unverified),
            "unequal": unequal if line.own else "",
        }
        for line in published.lines
    ]


def by_data_set(published: Published) -> list[Published]:
    """Return a table for each data set that has lines: in one, half of the columns would be blank, and a
    terminal has no room for that."""
    coco = [any("_coco_" in name for name in line.scores) for line in published.lines]
    groups = [
        tuple(line for line, is_coco in zip(published.lines, coco, strict=True) if is_coco is wanted)
        for wanted in (False, True)
    ]
    return [dataclasses.replace(published, lines=lines) for lines in groups if lines]


def published_json(published: Published, comparison: Comparison) -> dict[str, Any]:
    """Return the table as JSON: shares in [0, 1]."""
    from wsss.report.published import PROTOCOLS

    return {
        "protocols": PROTOCOLS,
        **dataclasses.asdict(published),
        "notes": published_notes(published, comparison).splitlines(),
    }


def _titles(published: Published) -> dict[str, str]:
    from wsss.report.published import PROTOCOLS

    used = {name for line in published.lines for name in line.scores}
    return {name: title for name, title in PROTOCOLS.items() if name in used}


def _score(line: Line, protocol: str) -> str:
    if protocol not in line.scores:
        return ""
    doubt = "?" if protocol in line.unverified else ""
    return f"{100 * line.scores[protocol]:.1f}{doubt}"
