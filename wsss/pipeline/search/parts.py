"""What a trial is made of: stages with search variables filled in, and all their parameters for views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wsss.config import Arm, Pbt, Study, resolve_stage
from wsss.config.resolve import placed_variables
from wsss.config.stage import STAGES
from wsss.pipeline.chains.chain import Part, unique_label
from wsss.pipeline.search.sampling import Values

Stages = dict[str, dict[str, Any]]
"""Label of a chain's stage → all its parameters as JSON, defaults included."""


def arm_parts(arm: Arm, values: Values) -> tuple[Part, ...]:
    """Return the stages of an arm for one configuration."""
    return tuple(
        Part(use.stage, use.name, resolve_stage(use, values), use.source or "") for use in arm.stages
    )


def member_parts(
    scheduler: Pbt, arm: Arm, values: Values, lines: Sequence[Mapping[str, Any]]
) -> tuple[Part, ...]:
    """Return the stages of an arm for a member of a population: its last judged stage comes in parts.

    Args:
        scheduler: says how many epochs a part has.
        arm: the arm.
        values: those that the member began with.
        lines: the parts that are decided, from the first, with their `params`; the last holds until the end.
    """
    last = {**values, **lines[-1]["params"]}
    uses = arm.stages
    place = max((n for n, use in enumerate(uses) if STAGES[use.stage].judged), default=-1)
    parts: list[Part] = []
    for here, use in enumerate(uses):
        if here != place:
            parts.append(Part(use.stage, use.name, resolve_stage(use, last), use.source or ""))
            continue
        epochs = int(getattr(resolve_stage(use, values), "epochs"))  # noqa: B009 - of a classifier
        for number, begin in enumerate(range(0, epochs, scheduler.interval)):
            line = lines[min(number, len(lines) - 1)]
            end = min(begin + scheduler.interval, epochs)
            params = resolve_stage(use, {**values, **line["params"]})
            if (begin, end) != (0, epochs):
                params = params.model_copy(update={"span": (begin, end)})
            parts.append(Part(use.stage, use.name if end == epochs else f"{use.name}.{end}", params))
    return tuple(parts)


def shown_stages(parts: Sequence[Part]) -> Stages:
    """Return the parameters of a chain's stages in its order, by the labels that `build_chain` gives.

    Of a classifier that is trained in parts only the last one counts.
    """
    found: Stages = {}
    taken: set[str] = set()
    for part in parts:
        label = unique_label(part.label, taken)
        taken.add(label)
        content = part.params.model_dump(mode="json")
        span = content.get("span")
        if not span or span[1] == content["epochs"]:
            found[label] = content
    return found


def variable_places(study: Study) -> dict[str, tuple[str, ...]]:
    """Return the parameters that each search variable of a study stands for, as `classifier.mixing.alpha`."""
    found: dict[str, list[str]] = {}
    for _, _, use in study.uses():
        for path, variable in placed_variables(use.params):
            found.setdefault(variable, []).append(f"{use.name}.{path}")
    return {variable: tuple(dict.fromkeys(places)) for variable, places in found.items()}
