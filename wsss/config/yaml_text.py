"""Reading and writing YAML: the safe subset, YAML 1.2 scalars, no duplicate keys, lines kept.

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
        lines: dict[Path_, int] = {}
        problems: list[Problem] = []
        value = None if node is None else _convert(loader, node, (), source, lines, problems)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}" if mark else source
        raise ConfigError(Problem(where, f"is not valid YAML: {error.problem or error.context}")) from error
    except yaml.YAMLError as error:
        raise ConfigError(Problem(source, f"is not valid YAML: {error}")) from error
    finally:
        loader.dispose()
    if problems:
        raise ConfigError(problems)
    return Document(source, value, lines)


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


def _convert(
    loader: _Loader,
    node: yaml.Node,
    path: Path_,
    source: str,
    lines: dict[Path_, int],
    problems: list[Problem],
) -> Any:
    lines.setdefault(path, node.start_mark.line + 1)
    if not isinstance(node, yaml.ScalarNode) and node.tag not in _COLLECTIONS:
        where = f"{source}:{node.start_mark.line + 1}"
        problems.append(Problem(where, f"the tag {node.tag!r} is not allowed"))
        return None
    if isinstance(node, yaml.MappingNode):
        result: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = loader.construct_object(key_node)
            line = key_node.start_mark.line + 1
            where = f"{source}:{line}"
            if not isinstance(key, str):
                problems.append(Problem(where, f"the key {key!r} must be a word"))
                continue
            if key in result:
                first = lines[*path, key]
                problems.append(
                    Problem(where, f"the key {key!r} stands here a second time (first: line {first})")
                )
                continue
            lines[*path, key] = line
            result[key] = _convert(loader, value_node, (*path, key), source, lines, problems)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [
            _convert(loader, child, (*path, number), source, lines, problems)
            for number, child in enumerate(node.value)
        ]
    return loader.construct_object(node)
