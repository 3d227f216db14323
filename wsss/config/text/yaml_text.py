"""Reading and writing YAML: the safe subset, YAML 1.2 scalars, merge keys, no duplicate keys, lines kept.

PyYAML alone reads `2e-4` as a string, `2010_005317` as an integer and `no` as false, and lets the
last of two equal keys win.
"""

from __future__ import annotations

import codecs
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from wsss.errors import ConfigError, Problem, quoted, shortened

_SCALARS = (
    ("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        re.compile(
            r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
            r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
        ),
        list("-+0123456789."),
    ),
)


MOST_BYTES = 500_000
"""Of a file, and of the words in it once aliases are followed."""
MOST_VALUES = 30_000
"""Aliases of aliases can make a short text explode."""
DEEPEST = 32
"""Levels of nesting; a study has about ten."""
MOST_DIGITS = 40
MOST_PROBLEMS = 100
"""Problems that are kept; more are counted."""
_UNSPEAKABLE = re.compile(r"[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\U0010ffff]")
"""Control characters and halves of surrogate pairs: no name, path or address has them."""


class _Loader(yaml.SafeLoader):
    """Counts on the way down, before anything is made of what it reads."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, Any]]] = {}  # noqa: RUF012 - as the base class

    def __init__(self, text: str, most: int) -> None:
        self.level = self.nodes = 0
        self.most = most
        super().__init__(text)

    if TYPE_CHECKING:  # the types of PyYAML don't have it

        def peek_event(self) -> Any: ...

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.level += 1
        self.nodes += 1
        if self.level > DEEPEST or self.nodes > self.most:
            mark: yaml.Mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem=_too_much(self.most, self.level), problem_mark=mark)
        try:
            return super().compose_node(parent, index)
        finally:
            self.level -= 1


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[str, list[tuple[str, Any]]] = {}  # noqa: RUF012 - as the base class

    def ignore_aliases(self, data: Any) -> bool:
        """Write a value that stands in two places twice: equal studies then have equal texts."""
        return True


def _too_much(most: int, level: int) -> str:
    return f"more than {DEEPEST} levels of nesting" if level > DEEPEST else f"more than {most} values"


for _kind in (_Loader, _Dumper):
    for _tag, _pattern, _first in _SCALARS:
        _kind.add_implicit_resolver(_tag, _pattern, _first)
_PATTERNS: dict[str, re.Pattern[str]] = {tag: pattern for tag, pattern, _ in _SCALARS}
_MAKE: dict[str, Callable[[str], Any]] = {
    "tag:yaml.org,2002:null": lambda text: None,
    "tag:yaml.org,2002:bool": lambda text: text.lower() == "true",
    "tag:yaml.org,2002:int": int,
    "tag:yaml.org,2002:float": lambda text: float(re.sub(r"\.(inf|nan)$", r"\1", text.lower())),
    "tag:yaml.org,2002:str": str,
}
_COLLECTIONS = {yaml.MappingNode: "tag:yaml.org,2002:map", yaml.SequenceNode: "tag:yaml.org,2002:seq"}

Path_ = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """A parsed YAML text. `lines` maps the path of every value to its 1-based line."""

    source: str
    value: Any
    lines: dict[Path_, int]

    def where(self, path: Path_) -> str:
        """Return "file:line" of a value, or of the nearest one around it that has a line."""
        while path and path not in self.lines:
            path = path[:-1]
        line = self.lines.get(path)
        return f"{self.source}:{line}" if line else self.source


def parse_yaml(text: str, source: str, *, most: int = MOST_VALUES) -> Document:
    """Parse a YAML text of at most `most` values.

    Raises `ConfigError` for bad syntax and, at once, for all duplicate keys, values that no study holds and
    tags.
    """
    try:
        loader = _Loader(text, most)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"has a character that no text holds, {quoted(chr(error.character))}"
        raise ConfigError(Problem(f"{source}:{line}", message)) from error
    try:
        node = loader.get_single_node()
        converter = _Converter(source, most)
        value = None if node is None else converter.convert(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}" if mark else source
        reason = shortened(error.problem or error.context or "", 160)
        if reason == "second occurrence":
            reason = f"{(error.context or '').partition(';')[0]}, an anchor that stands above already"
        raise ConfigError(Problem(where, f"is not valid YAML: {reason}")) from error
    except yaml.YAMLError as error:
        raise ConfigError(Problem(source, f"is not valid YAML: {shortened(str(error), 160)}")) from error
    except (ValueError, OverflowError) as error:  # an escape beyond Unicode, a version of thousands of digits
        where = f"{source}:{loader.get_mark().line + 1}"
        raise ConfigError(Problem(where, "is not valid YAML: an escape or a number is too large")) from error
    finally:
        loader.dispose()
    if converter.problems:
        raise ConfigError(converter.problems, more=converter.more)
    return Document(source, value, converter.lines)


def parse_value(text: str) -> Any:
    """Return the value of a YAML text on the command line. Raises `ConfigError`."""
    return parse_yaml(text, "-s").value


def dump_yaml(value: Any) -> str:
    """Return YAML text that `parse_yaml` reads back as the same value."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def read_text(path: Path) -> str:
    """Return a file's text, at most `MOST_BYTES` of it.

    Raises `ConfigError` for what is no regular file, can't be read, is too large or isn't UTF-8.
    """
    try:
        # Without waiting: a pipe would have nothing to say, for ever.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError(Problem(str(path), "is no regular file"))
            content = file.read(MOST_BYTES + 1)
    except IsADirectoryError as error:
        raise ConfigError(Problem(str(path), "is a folder, but must be a file")) from error
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL character
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(Problem(str(path), f"can't be read: {reason}")) from error
    if len(content) > MOST_BYTES:
        raise ConfigError(Problem(str(path), f"is larger than {MOST_BYTES // 1000} kB"))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        hint = "it is in UTF-16: save it as UTF-8" if wide else ""
        raise ConfigError(Problem(str(path), "is not a text file in UTF-8", hint)) from error


class _Converter:
    """Turns YAML nodes into plain values, noting lines and every problem on the way."""

    def __init__(self, source: str, most: int) -> None:
        self.source = source
        self.most = most
        self.lines: dict[Path_, int] = {}
        self.problems: list[Problem] = []
        self.more = 0
        self.open: list[yaml.Node] = []
        self.count = 0
        self.bytes = 0

    def convert(self, node: yaml.Node, path: Path_) -> Any:
        self.lines.setdefault(path, _line(node))
        self.count += 1
        if any(node is parent for parent in self.open):
            return self._problem(node, "an alias stands inside what it repeats")
        if self.count > self.most or len(self.open) >= DEEPEST:
            message = f"has {_too_much(self.most, len(self.open) + 1)}"
            raise ConfigError(Problem(f"{self.source}:{_line(node)}", message))
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if not isinstance(node, yaml.CollectionNode) or node.tag != _COLLECTIONS[type(node)]:
            return self._problem(node, f"the tag {quoted(node.tag)} is not allowed")
        self.open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            return [self.convert(child, (*path, number)) for number, child in enumerate(node.value)]
        finally:
            self.open.pop()

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        text: str = node.value
        self.bytes += len(text)
        if self.bytes > MOST_BYTES:
            message = f"has more than {MOST_BYTES // 1000} kB of words"
            raise ConfigError(Problem(f"{self.source}:{_line(node)}", message))
        make, pattern = _MAKE.get(node.tag), _PATTERNS.get(node.tag)
        if make is None:
            return self._problem(node, f"the tag {quoted(node.tag)} is not allowed")
        if pattern and not pattern.fullmatch(text):
            return self._problem(node, f"{quoted(text)} is not what its tag {quoted(node.tag)} says")
        if make is int and len(text) > MOST_DIGITS:
            return self._problem(node, f"a number has {len(text)} digits, {quoted(text, 40)}")
        if make is str and (odd := _UNSPEAKABLE.search(text)):
            message = f"{quoted(text)} holds a character that can't be written, U+{ord(odd[0]):04X}"
            return self._problem(node, message)
        return make(text)

    def _mapping(self, node: yaml.MappingNode, path: Path_) -> dict[str, Any]:
        result: dict[str, Any] = {}
        merged: list[yaml.Node] = []
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(key_node, "a key must be a word, not a list or a mapping")
                continue
            found = len(self.problems) + self.more
            key = self._scalar(key_node)
            if not isinstance(key, str):
                if len(self.problems) + self.more == found:
                    self._problem(key_node, f"the key {quoted(key)} must be a word")
            elif key == "<<":
                merged += value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
            elif key in result:
                first = self.lines[*path, key]
                message = f"the key {quoted(key)} stands here a second time (first: line {first})"
                self._problem(key_node, message)
            else:
                self.lines.setdefault((*path, key), _line(key_node))
                result[key] = self.convert(value_node, (*path, key))
        for other in merged:
            values = self.convert(other, path)
            if isinstance(values, dict):
                result = {**values, **result}  # what stands here wins over what is merged in
            else:
                self._problem(other, "`<<` must name a mapping, or a list of mappings")
        return result

    def _problem(self, node: yaml.Node, message: str) -> None:
        if len(self.problems) >= MOST_PROBLEMS:
            self.more += 1
            return
        problem = Problem(f"{self.source}:{_line(node)}", message)
        if problem not in self.problems:  # an alias repeats it
            self.problems.append(problem)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
