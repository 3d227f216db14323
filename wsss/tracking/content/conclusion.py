"""What a study comes to, as MLflow keeps it: a run of its own, the experiment's note, the registered winner.

`wsss.report.conclusion` makes the content; this module carries it to MLflow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsss.files import sha256_json
from wsss.tracking.spool import Operation

COMPARISON, REPORT, CONFIG = "compare.json", "report.html", "config.yaml"


@dataclass(frozen=True)
class Winner:
    """The network that is registered: the last one of the trial that scored best on `select` images.

    `files` maps names in the model's folder to files of this machine, `texts` to their content.
    """

    trial: str
    key: str
    files: Mapping[str, str]
    texts: Mapping[str, str]
    loader: str
    """The module that MLflow loads the folder with."""
    description: str = ""
    about: Mapping[str, str] = field(default_factory=dict)
    """What a reader of the model should know (`input`, `output`)."""


@dataclass(frozen=True)
class Conclusion:
    """What is known of a study when its run ends. Times are milliseconds since 1970."""

    study: str
    comparison: str
    """What `compare --format json` prints."""
    note: str
    """Markdown: the answer, the table and what to read it with."""
    config: str
    began: int
    ended: int
    finished: bool
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    datasets: Sequence[Mapping[str, Any]] = ()
    """As `wsss.tracking.content.about.data_sets` has them."""
    samples: Sequence[tuple[int, Mapping[str, float]]] = ()
    """How busy the machine was: milliseconds since 1970, and values by name."""
    best: str = ""
    """The id of the winning trial."""
    winner: Winner | None = None
    """None where the study hasn't ended or the winning chain has no network."""

    @property
    def digest(self) -> str:
        """Of all that a page tells and the registry holds: what has not changed is not sent again."""
        key = "" if self.winner is None else self.winner.key
        content = [self.comparison, self.note, self.config, self.finished, self.best, key]
        content += [self.samples[-1][0]] if self.samples else []
        return sha256_json(content)[:32]

    def operation(self, report: Path | None) -> Operation:
        """Return the operation that brings MLflow up to this. `report`: a page that was written."""
        winner: dict[str, Any] | None = None
        if self.winner is not None:
            own = self.winner
            winner = {
                "trial": own.trial, "key": own.key, "files": dict(own.files), "texts": dict(own.texts),
                "loader": own.loader, "description": own.description, "about": dict(own.about),
            }  # fmt: skip
        return {
            "op": "conclude",
            "study": self.study,
            "digest": self.digest,
            "began": self.began,
            "time": self.ended,
            "status": "FINISHED" if self.finished else "KILLED",
            "note": self.note,
            "texts": {COMPARISON: self.comparison, CONFIG: self.config},
            "files": {} if report is None else {REPORT: str(report)},
            "metrics": dict(self.metrics),
            "samples": [[when, dict(values)] for when, values in self.samples],
            "tags": dict(self.tags),
            "datasets": [dict(one) for one in self.datasets],
            "best": self.best,
            "winner": winner,
        }
