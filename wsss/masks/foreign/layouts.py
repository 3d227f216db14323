"""Which arrays of a file are the maps, and of which classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from wsss.errors import DataError, Problem, nearest

Size = Literal["full", "quarter", "any"]
"""Of maps: the photo's; a quarter of it, rounded up; or any up to the photo's, which they cover."""
MOST_SHOWN = 12


@dataclass(frozen=True)
class Layout:
    """The names that a program gives its maps [n, h, w] and their classes, and the size of the maps."""

    maps: str
    keys: str
    size: Size
    of: str


LAYOUTS = (
    Layout("high_res", "keys", "full", "IRN, ToCo"),
    Layout("hr_cam", "keys", "full", "forks of IRN"),
    Layout("cams", "keys", "full", "ours in .npz"),
    Layout("attn_highres", "keys", "full", "CLIP-ES, WeCLIP"),
    Layout("highres", "keys", "full", "CLIP-ES before its affinity"),
    Layout("valid_lam", "keys_gt", "full", "ExCEL, the background's map first"),
    Layout("cam", "fg_cls", "any", "FMA-WSSS, at the size of its network"),
    Layout("cam", "keys", "quarter", "IRN"),
)
"""Best first; `{class: map}` of PSA, SEAM, MCTformer and S2C has no names."""
OTHER_NAMES = "for other names say `maps: NAME` and `keys: NAME`"
SCORES = ("msc_segs", "msc_seg", "segs")
"""Names of scores [1, C + 1, h, w], best first: WeCLIP's over several scales, DuPL's, ToCo's and ExCEL's,
WeCLIP's of one scale."""


def maps_of(
    content: Any, path: Path, classes: int, maps: str | None, keys: str | None
) -> tuple[list[tuple[int, Any]], Size]:
    """Return (class, map) pairs, not yet checked, and the size that the maps must have.

    Raises `DataError` for an unknown layout.

    Args:
        content: of the file: an array, or arrays by name or class.
        path: the file, for messages.
        classes: how many the data set has.
        maps: the name of the maps, where a study gives it.
        keys: the name of their classes, likewise; without it there is a map of every class.
    """
    if maps is not None:
        values = named(content, maps, path)
        found = np.arange(classes) if keys is None else named(content, keys, path)
        return _pairs(values, found, Layout(maps, keys or "", "any", ""), path), "any"
    if isinstance(content, np.ndarray) and content.ndim >= 3:
        return _pairs(content, np.arange(classes), Layout("array", "", "any", ""), path), "any"
    if not isinstance(content, Mapping):
        raise error_of(path, f"holds {kind_of(content)}, but must hold a dict of maps")
    if all(isinstance(key, int | np.integer) for key in content):
        return [(int(np.int64(key)), values) for key, values in content.items()], "full"
    for layout in LAYOUTS:
        if layout.maps in content and layout.keys in content:
            return _pairs(content[layout.maps], content[layout.keys], layout, path), layout.size
    half = next((one for one in LAYOUTS if one.maps in content or one.keys in content), None)
    if half is not None:
        lacks = half.keys if half.maps in content else half.maps
        has = half.maps if half.maps in content else half.keys
        hint = f"{nearest(lacks, [str(key) for key in content if key != has])} {OTHER_NAMES}"
        raise error_of(path, f"holds {held_by(content)}, but no {lacks!r} that goes with {has!r}", hint)
    known = ", ".join(dict.fromkeys(f"{one.maps!r} with {one.keys!r}" for one in LAYOUTS))
    message = f"holds {held_by(content)}, but must hold classes, or {known}"
    raise error_of(path, message, OTHER_NAMES)


def named(content: Any, name: str, path: Path) -> Any:
    """Return the array that a study names. Raises `DataError` with the names that there are."""
    if not isinstance(content, Mapping):
        message = f"holds {kind_of(content)} without names, but must hold {name!r}"
        raise error_of(path, message, "leave `maps` and `keys` out")
    if name not in content:
        message = f"holds {held_by(content)}, but no {name!r}"
        raise error_of(path, message, nearest(name, [str(key) for key in content]))
    return content[name]


def _pairs(values: Any, keys: Any, layout: Layout, path: Path) -> list[tuple[int, Any]]:
    """Return (class, map) pairs of maps and keys of which one may have the background before all others."""
    if layout.keys and not (isinstance(keys, np.ndarray) and keys.dtype.kind in "iu" and keys.ndim == 1):
        raise error_of(path, f"{layout.keys} is {kind_of(keys)}, but must be int[n]")
    if isinstance(values, np.ndarray) and values.ndim == 4 and len(values) == 1:
        values = values[0]  # of a batch of one
    if not (isinstance(values, np.ndarray) and values.ndim == 3):
        raise error_of(path, f"{layout.maps} is {kind_of(values)}, but must be float[n, H, W]")
    listed = keys.tolist()
    if len(listed) == len(values) + 1 and listed[0] == 0:
        listed = [key - 1 for key in listed[1:]]
    elif len(values) == len(listed) + 1:
        values = values[1:]
    if len(set(listed)) != len(listed) or len(listed) != len(values):
        what = f"classes {str(listed)[:99]}, not one of each" if layout.keys else f"{len(listed)} classes"
        hint = "" if layout.keys else "of some classes alone, say which: `keys: NAME`"
        raise error_of(path, f"{layout.maps} holds {len(values)} maps of the {what}", hint)
    return list(zip(listed, values, strict=True))


def held_by(content: Mapping[Any, Any]) -> str:
    """Return the names of arrays for people."""
    names = [str(name)[:60] if isinstance(name, str) else name for name in content]
    more = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    return f"{names[:MOST_SHOWN]!r}"[:400] + more


def kind_of(value: Any) -> str:
    """Return what a value is, for messages: "float32[2, 3]"."""
    is_array = isinstance(value, np.ndarray)
    return f"{value.dtype}{list(value.shape)}" if is_array else f"of type {type(value).__name__}"


def error_of(path: Path, message: str, hint: str = "") -> DataError:
    """Return an error about a file."""
    return DataError(Problem(str(path), message, hint))
