"""All parameters of a trial as MLflow takes them: names with dots, values as text, numbers as metrics too.

MLflow compares parameters as text ("0.1" is greater than "0.01", and "9e-4" than both), metrics as numbers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from wsss.addresses import scrub

LONGEST_VALUE = 6000
"""Characters of a parameter's value that MLflow takes."""
NUMBERS = "params/"
"""What names of metrics that are parameters begin with."""
Stages = Mapping[str, Mapping[str, Any]]


def trial_parameters(
    stages: Stages, searched: Mapping[str, Any], places: Mapping[str, tuple[str, ...]]
) -> tuple[dict[str, str], dict[str, float]]:
    """Return a trial's parameters as text, and the numbers that people compare, as metrics.

    Every parameter stands under its whole name, `classifier.lr`. Under short names stand the numbers of the
    chain's last network (`lr`, `mixing.alpha`) and the search's variables; a trial that doesn't search one
    has there what it has where other arms put that variable. These are the metrics, too, as `params/lr`.

    Args:
        stages: label of a chain's stage → its parameters, in the order of the chain.
        searched: the values of search variables.
        places: search variable → the whole names that it stands for in some arm.

    Examples:
        >>> network = {"lr": 0.01, "amp": True, "mixing": {"alpha": 0.2}}
        >>> stages = {"classifier": network, "cams": {"size": None}}
        >>> params, numbers = trial_parameters(stages, {}, {"strength": ("classifier.mixing.alpha",)})
        >>> params["classifier.mixing.alpha"], params["strength"], params["lr"], params["cams.size"]
        ('0.2', '0.2', '0.01', 'null')
        >>> numbers
        {'params/lr': 0.01, 'params/mixing.alpha': 0.2, 'params/strength': 0.2}
    """
    whole = {f"{label}.{name}": value for label, content in stages.items() for name, value in flat(content)}
    networks = [content for content in stages.values() if "lr" in content]
    short: dict[str, Any] = {
        name: value for name, value in (flat(networks[-1]) if networks else ()) if _is_number(value)
    }
    for variable, names in places.items():
        found = [whole[name] for name in names if name in whole]
        if found:
            short[variable] = found[0]
    short.update(searched)
    numbers = {f"{NUMBERS}{name}": float(value) for name, value in short.items() if _is_number(value)}
    return {name: text_of(value) for name, value in {**whole, **short}.items()}, numbers


def flat(content: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Iterate over (name with dots, value) of nested mappings; lists are values."""
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def text_of(value: Any) -> str:
    """Return a value as a study file has it, without secrets, at most `LONGEST_VALUE` characters."""
    text = value if isinstance(value, str) else str(value)
    if value is None or isinstance(value, bool | list | tuple | Mapping):
        text = json.dumps(value)
    text = scrub(text)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
