"""Methods as named sets of parts: the parts replace a study's `method` before anything else reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsss.config.parts import MIXINGS
from wsss.errors import ConfigError, Problem, nearest, quoted

MIXUP_CAM = {"entropy": {"weight": 0.02}, "concentration": {"weight": 0.27}}
"""The two regularisers of Mixup-CAM (Chang et al., BMVC 2020), concentration in the unit square."""

METHODS: dict[str, dict[str, Any]] = {
    "cam": {},
    "mixup": {"mixing": {"kind": "mixup"}, **MIXUP_CAM},
    "fmix": {"mixing": {"kind": "fmix"}, **MIXUP_CAM},
    "manifold_mixup": {"mixing": {"kind": "manifold"}, **MIXUP_CAM},
    "cutmix": {"mixing": {"kind": "cutmix"}},
    "hide_and_seek": {"hide_and_seek": {"probability": 0.8}},
    "random_erasing": {"random_erasing": {"probability": 0.5}},
    "subcategory_exploration": {"subcategory_weight": 5.0},
    "subcategory_teaching": {"subcategory_weight": 2.0, "distillation": {"weight": 0.5}},
    "probe": {"freeze": "all", "color_jitter": False, "rung": {"images": 0}},
}
"""Hide-and-seek leaves the whole image as often as it takes one of its four grids, hence 0.8. `probe` is the
reference that any method should beat: a linear head on frozen features."""


def expand_method(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return classifier parameters with `method` replaced by its parts; the user's keys win.

    Raises `ConfigError` for an unknown method.
    """
    own = dict(params)
    name = own.pop("method", "cam")
    if not isinstance(name, str) or name not in METHODS:
        raise ConfigError(Problem("method", f"there is no method {quoted(name)}", nearest(name, METHODS)))
    merged = merge(METHODS[name], own)
    mixing = merged.get("mixing")
    if isinstance(mixing, Mapping) and "alpha" not in mixing:
        way = MIXINGS.get(mixing.get("kind"))
        if way is not None:
            merged["mixing"] = {**mixing, "alpha": way.alpha}
    return merged


def merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `top` laid over it, mappings merged key by key."""
    result = dict(base)
    for key, value in top.items():
        old = result.get(key)
        result[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result
