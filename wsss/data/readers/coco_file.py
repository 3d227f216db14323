"""One of COCO's instance files, object after object: it is too large to be read at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wsss.data.tables.text import quote
from wsss.errors import DataError, Problem

SECTIONS = ("categories", "images", "annotations")
MOST_BYTES = 2**32
MOST_VALUES = 2_000_000
"""Of one image or annotation: an outline that visits every pixel of a large photo has fewer."""
MOST_DEPTH = 12
BLOCK = 2**16


def objects_of(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (section, object) of the three lists of a file, in its order; all else in it is skipped.

    Raises `DataError` for a file that is no JSON, or one that asks for more than COCO's ever would.
    """
    import ijson

    def refused(message: str) -> DataError:
        return DataError(Problem(str(path), message))

    if path.stat().st_size > MOST_BYTES:
        raise refused(f"has {path.stat().st_size:,} bytes, but may have at most {MOST_BYTES:,}")
    section, depth = "", 0
    stack: list[Any] = []
    keys: list[str] = []
    count = 0
    try:
        with path.open("rb") as file:
            for event, value in ijson.basic_parse(file, buf_size=BLOCK, use_float=True):
                if stack:
                    count += 1
                    if count > MOST_VALUES or len(stack) > MOST_DEPTH:
                        limit = f"{MOST_VALUES:,} values" if count > MOST_VALUES else f"{MOST_DEPTH} levels"
                        raise refused(f"one of its {section} has more than {limit}")
                    if event == "map_key":
                        keys[-1] = value
                        continue
                    if event in ("end_map", "end_array"):
                        done = stack.pop()
                        keys.pop()
                        if not stack:
                            yield section, done
                        continue
                    if event in ("start_map", "start_array"):
                        value = {} if event == "start_map" else []
                    parent = stack[-1]
                    if isinstance(parent, list):
                        parent.append(value)
                    else:
                        parent[keys[-1]] = value
                    if event in ("start_map", "start_array"):
                        stack.append(value)
                        keys.append("")
                elif section and depth == 2 and event == "start_map":
                    stack, keys, count = [{}], [""], 0
                elif event == "map_key" and depth == 1:
                    section = value if value in SECTIONS else ""
                elif event in ("start_map", "start_array"):
                    if depth == 0 and event == "start_array":
                        raise refused("holds a list, but must be a file of COCO's instances")
                    depth += 1
                elif event in ("end_map", "end_array"):
                    depth -= 1
                elif section and depth == 2:
                    raise refused(f"`{section}` holds {quote(value)}, but must hold objects")
    except ijson.JSONError as error:
        reason = " ".join(str(error).split())[:200]
        raise refused(f"is no valid JSON: {reason}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise refused(f"can't be read: {error}") from error
