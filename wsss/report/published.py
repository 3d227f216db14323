"""Published numbers beside the rows of a storage that were scored by the same protocol.

A row stands there only when its study's data is the whole of PASCAL VOC 2012: of fewer classes, or of other
photos, a number says nothing about a published one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from wsss.config import Study
from wsss.config.data_set import DATA_SETS
from wsss.config.params.stages import Params
from wsss.config.stage import scored_as
from wsss.config.text.yaml_text import parse_yaml, read_text
from wsss.data.readers.voc import VOC_CLASSES
from wsss.errors import ConfigError, Problem, nearest, quoted
from wsss.report.comparison import Comparison, Row
from wsss.report.words.titles import PIXEL_LABELS, row_name

VOC = "PASCAL VOC"

FILE = Path(__file__).with_name("published.yaml")
PROTOCOLS = {
    "cam_train": "CAM, train",
    "refined_train": "mask, train",
    "refined_trainaug": "mask, trainaug",
    "segmentation_val": "segmentation, val",
    "segmentation_test": "segmentation, test",
    "cam_val": "CAM, val",
    "refined_val": "mask, val",
    "segmentation_coco_val": "segmentation, COCO val",
}
"""Protocol → title. CAMs and masks with image-level labels given, segmentations without; on PASCAL VOC 2012
unless the title says COCO."""
Supervision = Literal["image", "text", "saliency", "boxes", "masks"]
"""Labels that a result may rest on, weights that networks began with and helpers included."""


def _protocol(name: str) -> str:
    if name not in PROTOCOLS:
        raise ValueError(f"there is no protocol {quoted(name)} ({nearest(name, tuple(PROTOCOLS))})")
    return name


ProtocolName = Annotated[str, AfterValidator(_protocol)]


class Publication(Params):
    """One entry of the file of published numbers; `scores` in percent."""

    method: str
    rows: tuple[str, ...]
    """Our methods that it stands beside."""
    backbone: str
    initial_weights: str
    supervision: tuple[Supervision, ...]
    images: Annotated[int, Field(gt=0)] | None = None
    """That it was trained on; None where its source doesn't say."""
    scores: Annotated[Mapping[ProtocolName, Annotated[float, Field(ge=0, le=100)]], Field(min_length=1)]
    unverified: tuple[ProtocolName, ...] = ()
    source: str

    @model_validator(mode="after")
    def _unverified_are_there(self) -> Publication:
        missing = [name for name in self.unverified if name not in self.scores]
        if missing:
            raise ValueError(f"`unverified` names {', '.join(missing)}, of which there is no score")
        return self

    @model_validator(mode="after")
    def _all_labels_are_declared(self) -> Publication:
        if not self.supervision or len(set(self.supervision)) < len(self.supervision):
            found = list(self.supervision)
            raise ValueError(f"`supervision` is {found}, but must name kinds of labels, each once")
        if PIXEL_LABELS in self.initial_weights and "masks" not in self.supervision:
            raise ValueError(f"`initial_weights` have seen {PIXEL_LABELS} but `supervision` has no masks")
        return self


@dataclass(frozen=True)
class Line:
    """One line of the table: a row of the storage (`own`), or a publication. `scores` as shares in [0, 1],
    by protocol; `images` are those it was trained on."""

    method: str
    own: bool
    source: str
    backbone: str
    initial_weights: str
    supervision: tuple[str, ...]
    images: int | None
    scores: Mapping[str, float]
    unverified: tuple[str, ...] = ()
    pixel_labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Published:
    """`lines`, each publication below the rows of its method. `left_out` says of a study why none of its
    rows may stand here; `scored_on` says of the others what they were scored on."""

    lines: tuple[Line, ...]
    left_out: Mapping[str, str]
    scored_on: Mapping[str, str]


def publications(path: Path = FILE) -> tuple[Publication, ...]:
    """Return the published numbers of a file. Raises `ConfigError` with everything that is wrong in it."""
    document = parse_yaml(read_text(path), path.name)
    found, problems = [], []
    for number, entry in enumerate(document.value or []):
        try:
            found.append(Publication.model_validate(entry))
        except ValidationError as error:
            for one in error.errors():
                where = document.where((number, *one["loc"]))
                problems.append(Problem(where, f"{'.'.join(map(str, one['loc']))}: {one['msg']}"))
    if problems:
        raise ConfigError(problems)
    return tuple(found)


def beside_published(
    comparison: Comparison, studies: Mapping[str, Study], entries: Sequence[Publication]
) -> Published:
    """Return the rows of a comparison and the publications of the same methods, one below the other.

    The CAM score of a row is the one whose threshold was chosen on the masks that it reports, as in
    publications.
    """
    left_out: dict[str, str] = {}
    own: dict[str, list[Line]] = {}
    for row in comparison.rows:
        study = studies[row.study]
        reason = _difference(study, row)
        if reason:
            left_out.setdefault(row.study, reason)
        elif scores := _scores(row, study, comparison):
            own.setdefault(row.method, []).append(_own_line(row, scores, row_name(row, comparison.rows)))
    lines: list[Line] = []
    published_methods = {method for entry in entries for method in entry.rows}
    for method, rows in own.items():
        if method not in published_methods:
            lines += rows
    for entry in entries:
        for method in entry.rows:
            lines += own.pop(method, [])
        shares = {str(name): round(value / 100, 6) for name, value in entry.scores.items()}
        lines.append(
            Line(
                method=entry.method,
                own=False,
                source=entry.source,
                backbone=entry.backbone,
                initial_weights=entry.initial_weights,
                supervision=entry.supervision,
                images=entry.images,
                scores=shares,
                unverified=entry.unverified,
            )
        )
    return Published(
        tuple(lines),
        left_out,
        {name: _scored_on(study) for name, study in studies.items() if name not in left_out},
    )


def _difference(study: Study, row: Row) -> str:
    """Return why a study's rows may not stand beside published ones, empty when they may."""
    kind = DATA_SETS[study.data.dataset]
    if kind.described != VOC:
        return f"its data is {kind.described}, not {VOC}"
    if study.data.limit is not None:
        return f"its lists are cut to {study.data.limit} images"
    chosen = study.data.classes
    if chosen != "all" and set(chosen) != set(VOC_CLASSES):
        return f"it has {len(chosen)} classes, not all 20 of PASCAL VOC"
    seen = {name for cell in row.cells.values() for name in cell.per_class}
    if seen and seen != {"background", *VOC_CLASSES}:
        return "its classes are not PASCAL VOC's"
    return ""


def _scores(row: Row, study: Study, comparison: Comparison) -> dict[str, float]:
    """Return protocol → share; of several steps of a kind, the last one's."""
    found: dict[str, float] = {}
    test = study.data.test
    splits = {"report": study.data.report.split, "test": test.split if test else ""}
    for step, cell in row.cells.items():
        protocol = comparison.protocols[step]
        how = scored_as(protocol.kind)
        if how is None:
            continue
        name = f"{how.published}_{splits[protocol.part]}"
        score = cell.published if how.files == "maps" else cell.miou
        if name in PROTOCOLS and score is not None:
            found[name] = score
    return found


def _own_line(row: Row, scores: Mapping[str, float], name: str) -> Line:
    networks = row.networks.values()
    return Line(
        method=row.method,
        own=True,
        source=name,
        backbone=", ".join(dict.fromkeys(network.backbone for network in networks)) or "none",
        initial_weights=", ".join(dict.fromkeys(network.weights for network in networks)) or "none",
        supervision=("image", *(("masks",) if row.pixel_labels else ())),
        images=row.trained_on,
        scores=scores,
        pixel_labels=row.pixel_labels,
    )


def _scored_on(study: Study) -> str:
    test = study.data.test
    without = f"; without labels: {test}" if test else ""
    return f"with image-level labels: {study.data.report}{without}"
