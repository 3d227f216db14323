"""Reading and writing YAML: the safe subset, YAML 1.2 scalars, merge keys, no duplicate keys, lines kept.

PyYAML alone reads `2e-4` as a string, `2010_005317` as an integer and `no` as false, and lets the
last of two equal keys win.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wsss.errors import ConfigError, Problem

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


MOST_VALUES = 100_000
_COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, Any]]] = {}  # noqa: RUF012 - as the base class


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[str, list[tuple[str, Any]]] = {}  # noqa: RUF012 - as the base class


for _kind in (_Loader, _Dumper):
    for _tag, _pattern, _first in _SCALARS:
        _kind.add_implicit_resolver(_tag, _pattern, _first)
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value))
_Loader.add_constructor(
    "tag:yaml.org,2002:float", lambda loader, node: float(re.sub(r"\.(inf|nan)$", r"\1", node.value.lower()))
)

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


def parse_yaml(text: str, source: str) -> Document:
    """Parse a YAML text. Raises `ConfigError` for bad syntax and for all duplicate keys at once."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        converter = _Converter(loader, source)
        value = None if node is None else converter.convert(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}" if mark else source
        raise ConfigError(Problem(where, f"is not valid YAML: {error.problem or error.context}")) from error
    except yaml.YAMLError as error:
        raise ConfigError(Problem(source, f"is not valid YAML: {error}")) from error
    finally:
        loader.dispose()
    if converter.problems:
        raise ConfigError(converter.problems)
    return Document(source, value, converter.lines)


def parse_value(text: str) -> Any:
    """Return the value of a YAML text on the command line. Raises `ConfigError`."""
    return parse_yaml(text, "-s").value


def dump_yaml(value: Any) -> str:
    """Return YAML text that `parse_yaml` reads back as the same value."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def read_text(path: Path) -> str:
    """Return a file's text. Raises `ConfigError` when it can't be read as UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(Problem(str(path), "is not a text file in UTF-8")) from error
    except OSError as error:
        raise ConfigError(Problem(str(path), f"can't be read: {error.strerror}")) from error


class _Converter:
    """Turns YAML nodes into plain values, noting lines and every problem on the way."""

    def __init__(self, loader: _Loader, source: str) -> None:
        self.loader = loader
        self.source = source
        self.lines: dict[Path_, int] = {}
        self.problems: list[Problem] = []
        self.open: list[yaml.Node] = []
        self.count = 0

    def convert(self, node: yaml.Node, path: Path_) -> Any:
        self.lines.setdefault(path, _line(node))
        self.count += 1
        if any(node is parent for parent in self.open):
            return self._problem(node, "an alias stands inside what it repeats")
        if self.count > MOST_VALUES:
            # Aliases of aliases can make a short text explode.
            raise ConfigError(Problem(self.source, f"has more than {MOST_VALUES} values"))
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _COLLECTIONS:
            return self._problem(node, f"the tag {node.tag!r} is not allowed")
        self.open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self.convert(child, (*path, number)) for number, child in enumerate(node.value)]
            return self.loader.construct_object(node)
        finally:
            self.open.pop()

    def _mapping(self, node: yaml.MappingNode, path: Path_) -> dict[str, Any]:
        result: dict[str, Any] = {}
        merged: list[yaml.Node] = []
        for key_node, value_node in node.value:
            key = self.loader.construct_object(key_node)
            if not isinstance(key, str):
                self._problem(key_node, f"the key {key!r} must be a word")
            elif key == "<<":
                merged += value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
            elif key in result:
                first = self.lines[*path, key]
                self._problem(key_node, f"the key {key!r} stands here a second time (first: line {first})")
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
        self.problems.append(Problem(f"{self.source}:{_line(node)}", message))


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
