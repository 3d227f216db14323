"""What runs say of themselves: who made them with which code, on which data, and all of a trial as YAML."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from wsss.addresses import scrub, shown
from wsss.config.text.yaml_text import dump_yaml
from wsss.pipeline.events import DataPart, Origin, TrialInfo
from wsss.tracking.content import tags as tag

PUBLISHED = "published"
LAST = "z/published"
"""What names of published scores begin with in MLflow, which sorts metrics by name: they aren't comparable
with the others, and stand last."""


def last_if_published(name: str) -> str:
    """Return a score's name in MLflow.

    Examples:
        >>> last_if_published("cams/published/miou"), last_if_published("cams/report/miou")
        ('z/published/cams/miou', 'cams/report/miou')
    """
    parts = name.split("/")
    if PUBLISHED not in parts[1:-1]:
        return name
    return "/".join([LAST, *(part for part in parts if part != PUBLISHED)])


def origin_tags(study: str, origin: Origin, note: str) -> dict[str, str]:
    """Return the tags that say who made a run and with which code, in MLflow's own columns where it has them.

    Args:
        study: its name.
        origin: what is known of that.
        note: a run's description, in Markdown.
    """
    tags = {tag.NOTE: note}
    if origin != Origin():
        tags |= {
            "mlflow.user": origin.user,
            "mlflow.source.name": f"wsss run {study}",
            "mlflow.source.type": "JOB" if origin.job else "LOCAL",
            "mlflow.source.git.commit": origin.commit,
            "mlflow.source.git.dirty": str(origin.dirty).lower() if origin.commit else "",
            tag.PACKAGE: origin.version,
            tag.JOB: origin.job,
        }
    return {name: scrub(value) for name, value in tags.items() if value}


def data_sets(parts: Sequence[DataPart], source: str) -> list[dict[str, Any]]:
    """Return the images of a study as MLflow's data sets: name, digest, number of images and source."""
    where = shown(source)
    return [{**dataclasses.asdict(part), "source": where} for part in parts]


def trial_note(study: str, info: TrialInfo) -> str:
    """Return what a trial is, in Markdown."""
    values = ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in info.params.items()
    )
    what = f"Arm `{info.arm}`{f' ({values})' if values else ''}, seed {info.seed}"
    after = f", after `{info.upstream}`" if info.upstream else ""
    return f"{what}: a trial of sweep `{info.sweep}` of `{study}`{after}."


def trial_yaml(study: str, info: TrialInfo, stages: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a trial as YAML: what it is, and all parameters of its chain's stages by their labels."""
    about = {"study": study, "trial": info.id, "sweep": info.sweep, "arm": info.arm, "seed": info.seed}
    more = {"upstream": info.upstream, "searched": dict(info.params)}
    content = {**about, **{key: value for key, value in more.items() if value}}
    return scrub(dump_yaml({**content, "stages": {label: dict(own) for label, own in stages.items()}}))
