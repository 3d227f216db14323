"""What studies say of the machine that they ran on, for a copy that other people read without it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

HOME = "~"
_HOMES = r"/(?:home|Users)/[^/\s'\"`:;,()]+"


class Whereabouts:
    """The absolute paths of studies, and a name without its folders for each.

    `/home/anna/data/VOC2012` becomes `VOC2012`, and what lies below it `VOC2012/…`; two folders that are
    named alike stay apart. Any other home is `~`. The same paths give the same names, in whatever order.
    """

    def __init__(self, known: Mapping[str, str], studies: object) -> None:
        """Take every text of `studies`, values as YAML or JSON have them, that is an absolute path; `known`
        has the names of further ones."""
        home = os.path.expanduser("~")  # unlike Path.home, it takes a user without one
        self._names = {place: name for place, name in known.items() if len(place) > 1}
        wanted = {str(PurePosixPath(text)) for text in _texts(studies) if _is_path(text)}
        for path in sorted(wanted, key=lambda path: (path.count("/"), path)):
            if not any(PurePosixPath(path).is_relative_to(other) for other in self._names):
                name = "home" if path == home or re.fullmatch(_HOMES, path) else PurePosixPath(path).name
                self._names[path] = self._free(name)
        if _is_path(home):
            self._names.setdefault(home, HOME)
        longest_first = sorted(self._names, key=len, reverse=True)
        ours = "|".join(map(re.escape, longest_first)) or "(?!)"
        self._pattern = re.compile(rf"(?<![\w.~-])(?:({ours})(?![\w-]|\.\w)|{_HOMES})")

    def _free(self, name: str) -> str:
        taken = set(self._names.values())
        names = (name if number == 1 else f"{name}-{number}" for number in range(1, len(taken) + 2))
        return next(one for one in names if one not in taken)

    def without(self, value: Any) -> Any:
        """Return a value as JSON has them with names in place of paths, also within longer texts."""
        if isinstance(value, str):
            return self._pattern.sub(lambda found: self._names.get(found[1], HOME), value)
        if isinstance(value, Mapping):
            return {self.without(key): self.without(one) for key, one in value.items()}
        return [self.without(one) for one in value] if isinstance(value, list | tuple) else value


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(one)


def _is_path(text: str) -> bool:
    return text.startswith("/") and len(PurePosixPath(text).parts) > 1
