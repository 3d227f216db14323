"""Filling in search variables, expanding methods, and checking stage parameters before any run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from wsss.config.params.base import Params
from wsss.config.search import Distribution, Scalar, first_values
from wsss.config.stage import STAGES, scored_as
from wsss.config.study import StageUse
from wsss.config.text.yaml_text import Path_
from wsss.errors import ConfigError, Problem, shortened

if TYPE_CHECKING:
    from wsss.config.checks.checker import Checker

MOST_TRIED = 20_000
"""Values of search variables that are checked against the stages that they stand in."""


def resolve_stage(use: StageUse, values: Mapping[str, Scalar]) -> Params:
    """Return a stage's parameters with search variables filled in and `method` expanded.

    Raises `ConfigError` for what the stage doesn't accept.
    """
    kind = STAGES[use.stage]
    filled = kind.expand(_fill(dict(use.params), values))
    try:
        return kind.model().model_validate(filled)
    except ValidationError as error:
        problems = [Problem(f"{use.name}.{'.'.join(map(str, e['loc']))}", e["msg"]) for e in error.errors()]
        raise ConfigError(problems) from error


def variables_in(value: Any) -> Iterator[str]:
    """Iterate over the names of variables ("$name") in a value."""
    return (name for _, name in placed_variables(value))


def placed_variables(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Iterate over (path, name) of the variables in a value: ("mixing.alpha", "alpha") of
    `{mixing: {alpha: $alpha}}`. Values of a list have the path of the list.

    Args:
        value: parameters as written, or a part of them.
        path: where the value stands.
    """
    if isinstance(value, str) and value.startswith("$"):
        yield path, value[1:]
    elif isinstance(value, Mapping):
        for key, child in value.items():
            yield from placed_variables(child, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for child in value:
            yield from placed_variables(child, path)


def check_stage_params(
    checker: Checker, use: StageUse, search: Mapping[str, Distribution], path: Path_, search_path: Path_
) -> list[Params]:
    """Check a stage's parameters with every candidate of every search variable; return those that are good.

    Each variable is tried at all its choices (or both ends of its range) while the others stay at
    their first; a value that is refused is reported at the variable's own line. Where nothing is good,
    what is left without the keys that were refused stands in.

    Args:
        checker: takes the problems.
        use: the stage as the study uses it.
        search: the arm's search variables.
        path: where the stage stands in the file.
        search_path: where the arm's `search` stands.
    """
    undefined = sorted({name for name in variables_in(use.params) if name not in search})
    for name in undefined:
        if checker.is_left_out((*search_path, name)):
            continue  # what is wrong with its values is reported
        hint = checker.nearest(name, search) if search else "the arm has no `search`"
        checker.add(path, f"the variable `${shortened(name)}` of `{use.name}` is not in `search`", hint)
    first = first_values(search)
    found = None if undefined else _accepted(checker, use, first, path)
    if found is None:
        return _remains(use, first)
    good = [found]
    for name in sorted(set(variables_in(use.params))):
        for candidate in search[name].values[1:]:
            checker.tried += 1
            if checker.tried > MOST_TRIED:
                if checker.tried == MOST_TRIED + 1:
                    message = f"more than {MOST_TRIED} values of search variables would have to be checked"
                    checker.add((*search_path, name), message, "shorter `choice` lists")
                return good
            found = _accepted(checker, use, {**first, name: candidate}, (*search_path, name))
            if found is None:
                break
            good.append(found)
    return good


def _accepted(checker: Checker, use: StageUse, values: Mapping[str, Scalar], path: Path_) -> Params | None:
    kind = STAGES[use.stage]
    try:
        filled = kind.expand(_fill(dict(use.params), values))
        return kind.model().model_validate(filled)
    except ConfigError as error:
        for problem in error.problems:
            checker.add((*path, problem.where), f"`{problem.where}`: {problem.message}", problem.hint)
    except ValidationError as error:
        checker.add_validation(path, error, kind.model())
    return None


def _remains(use: StageUse, values: Mapping[str, Scalar]) -> list[Params]:
    """Return the parameters without those that are refused, if anything is good then."""
    kind = STAGES[use.stage]
    left = {
        key: _fill(value, values)
        for key, value in use.params.items()
        if set(variables_in(value)) <= set(values)
    }
    for _ in range(2):
        try:
            return [kind.model().model_validate(kind.expand(left))]
        except ConfigError as error:
            refused = {problem.where.partition(".")[0] for problem in error.problems}
        except ValidationError as error:
            refused = {str(item["loc"][0]) for item in error.errors() if item["loc"]}
        left = {key: value for key, value in left.items() if key not in refused}
    return []


def kinds_made(use: StageUse, tried: Sequence[Params] | None = None) -> tuple[str, ...]:
    """Return the kinds of artefacts that a stage of an arm may make: with any of the parameters `tried`, or
    as they are written."""
    kind = STAGES[use.stage]
    if not kind.may_make:
        return (kind.name,)
    if tried is None:
        tried = _remains(use, {})
    return tuple(dict.fromkeys(kind.makes(params) for params in tried)) or kind.may_make


def is_scored(use: StageUse) -> bool:
    """Tell whether what a stage makes is compared with masks."""
    return any(scored_as(kind) is not None for kind in kinds_made(use))


def draws_masks(use: StageUse, search: Mapping[str, Distribution]) -> bool:
    """Tell whether a stage learns from a few masks, which are scored nowhere after it."""
    first = first_values(search)
    return any(STAGES[use.stage].drawn_masks(params) for params in _remains(use, first))


def is_ranked(use: StageUse) -> bool:
    """Tell whether a search can choose by the scores of what a stage makes."""
    kind = STAGES[use.stage]
    return is_scored(use) and not any(kind.leaves_out_select(params) for params in _remains(use, {}))


def _fill(value: Any, values: Mapping[str, Scalar]) -> Any:
    if isinstance(value, str) and value.startswith("$"):
        return values[value[1:]]
    if isinstance(value, Mapping):
        return {key: _fill(child, values) for key, child in value.items()}
    if isinstance(value, list):
        return [_fill(child, values) for child in value]
    return value
