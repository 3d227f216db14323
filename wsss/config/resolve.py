"""Filling in search variables, expanding methods, and checking stage parameters before any run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from wsss.config.methods import expand_method
from wsss.config.params import STAGE_PARAMS, Params
from wsss.config.search import Distribution, Scalar
from wsss.config.study import StageUse
from wsss.config.yaml_text import Path_
from wsss.errors import ConfigError, Problem, shortened

if TYPE_CHECKING:
    from wsss.config.checker import Checker

STAGE_INPUTS: dict[str, tuple[str, ...]] = {
    "classifier": (),
    "features": ("classifier",),
    "subcategories": ("features",),
    "cams": ("classifier",),
    "affinity_labels": ("cams",),
    "affinity": ("affinity_labels",),
    "pseudo_masks": ("cams",),
    "segmenter": ("pseudo_masks",),
    "segmentations": ("segmenter",),
    "import": (),
}
"""Kinds of artefacts that a stage always reads; a test holds it equal to the stages' own `needs`."""

MOST_TRIED = 20_000
"""Values of search variables that are checked against the stages that they stand in."""
SCORED_STAGES = ("cams", "pseudo_masks", "segmentations")


def made_by(stage: str, params: Mapping[str, Any]) -> str:
    """Return the kind of artefact that a stage with these parameters, as written, makes."""
    if stage == "import":
        return "cams" if params.get("cams") is not None else "pseudo_masks"
    return stage


def inputs_of(stage: str, params: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the kinds of artefacts that a stage with these parameters, as written, reads."""
    if stage == "classifier":
        try:
            weight = expand_method(params).get("subcategory_weight", 0)
        except ConfigError:
            return ()  # an unknown method is reported elsewhere
        span = params.get("span")
        needed = ("subcategories",) if weight else ()
        goes_on = isinstance(span, list | tuple) and bool(span) and bool(span[0])
        return (*needed, "classifier") if goes_on else needed
    if stage == "cams" and params.get("head") == "subcategories":
        return ("classifier", "subcategories")
    if stage == "pseudo_masks" and params.get("walk") is not None:
        return ("cams", "affinity")
    if stage == "segmenter" and params.get("supervision") == "masks":
        return ()
    return STAGE_INPUTS[stage]


def resolve_stage(use: StageUse, values: Mapping[str, Scalar]) -> Params:
    """Return a stage's parameters with search variables filled in and `method` expanded.

    Raises `ConfigError` for what the stage doesn't accept.
    """
    filled = _expand(use.stage, _fill(dict(use.params), values))
    try:
        return STAGE_PARAMS[use.stage].model_validate(filled)
    except ValidationError as error:
        problems = [Problem(f"{use.name}.{'.'.join(map(str, e['loc']))}", e["msg"]) for e in error.errors()]
        raise ConfigError(problems) from error


def variables_in(value: Any) -> Iterator[str]:
    """Iterate over the names of variables ("$name") in a value."""
    if isinstance(value, str) and value.startswith("$"):
        yield value[1:]
    elif isinstance(value, Mapping):
        for child in value.values():
            yield from variables_in(child)
    elif isinstance(value, list):
        for child in value:
            yield from variables_in(child)


def check_stage_params(
    checker: Checker, use: StageUse, search: Mapping[str, Distribution], path: Path_, search_path: Path_
) -> None:
    """Check a stage's parameters with every candidate of every search variable.

    Each variable is tried at all its choices (or both ends of its range) while the others stay at
    their first; a value that is refused is reported at the variable's own line.
    """
    undefined = sorted({name for name in variables_in(use.params) if name not in search})
    for name in undefined:
        hint = checker.nearest(name, search) if search else "the arm has no `search`"
        checker.add(path, f"the variable `${shortened(name)}` of `{use.name}` is not in `search`", hint)
    first = {name: values.values[0] for name, values in search.items()}
    if undefined or not _accepted(checker, use, first, path):
        return
    for name in sorted(set(variables_in(use.params))):
        for candidate in search[name].values[1:]:
            checker.tried += 1
            if checker.tried > MOST_TRIED:
                if checker.tried == MOST_TRIED + 1:
                    message = f"more than {MOST_TRIED} values of search variables would have to be checked"
                    checker.add((*search_path, name), message, "shorter `choice` lists")
                return
            if not _accepted(checker, use, {**first, name: candidate}, (*search_path, name)):
                break


def _accepted(checker: Checker, use: StageUse, values: Mapping[str, Scalar], path: Path_) -> bool:
    model = STAGE_PARAMS[use.stage]
    try:
        filled = _expand(use.stage, _fill(dict(use.params), values))
        model.model_validate(filled)
    except ConfigError as error:
        for problem in error.problems:
            checker.add((*path, problem.where), f"`{problem.where}`: {problem.message}", problem.hint)
        return False
    except ValidationError as error:
        checker.add_validation(path, error, model)
        return False
    return True


def _expand(stage: str, params: dict[str, Any]) -> dict[str, Any]:
    return expand_method(params) if stage == "classifier" else params


def _fill(value: Any, values: Mapping[str, Scalar]) -> Any:
    if isinstance(value, str) and value.startswith("$"):
        return values[value[1:]]
    if isinstance(value, Mapping):
        return {key: _fill(child, values) for key, child in value.items()}
    if isinstance(value, list):
        return [_fill(child, values) for child in value]
    return value
