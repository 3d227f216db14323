"""Looking through a .pt2 file before torch reads it.

Reading a program can run code in four ways: what is pickled in it is loaded; its operators are looked up
by name anywhere below `torch`; its sizes are expressions, which sympy evaluates, and its guards Python; the
structure of its inputs may name classes to import. Here only what an export of a network needs passes.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch.utils._pytree import tree_structure, treespec_dumps

from wsss.errors import ConfigError, Problem

MEMBERS = re.compile(
    r"(archive_format|archive_version|byteorder|version|\.data/\w+|extra/[\w.]+|models/model\.json"
    r"|data/weights/(weight_\d+|model_weights_config\.json)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json)|data/sample_inputs/model\.pt)"
)
ARITHMETIC = "add|sub|mul|floordiv|truediv|mod|neg|pow|getitem|eq|ne|lt|le|gt|ge|and_|or_"
TARGET = re.compile(
    rf"torch\.ops\.aten\.(?!from_file)\w+\.\w+|_operator\.({ARITHMETIC})|math\.\w+|torch\.sym_\w+"
)
SYMBOL = re.compile(r"Symbol\('\w+'(, \w+=True)*\)")
SIZE = re.compile(r"L\['\w+'\]\.size\(\)\[\d\]")
WORDS = re.compile(
    r"[su]\d+|\d+|int_oo|True|False|and|or|not|Integer|Rational|Add|Mul|Pow|Mod|PythonMod|FloorDiv|CleanDiv|CeilDiv"
    r"|Max|Min|max|min|Eq|Ne|Lt|Le|Gt|Ge|And|Or|Not|Equality|Unequality|StrictLessThan|LessThan|StrictGreaterThan"
    r"|GreaterThan|IntTrueDiv|TruncToInt|ToFloat|FloorToInt|CeilToInt|Float|FloatTrueDiv"
)
SPECS = {"in_spec": ((0,), {}), "out_spec": 0}
FORBIDDEN = ("as_custom_obj", "as_operator", "as_string", "as_strings")


def checked_archive(path: Path, about: str) -> str:
    """Return the text of `extra/<about>` of a .pt2 file. Raises `ConfigError` for one that isn't plain."""
    try:
        with zipfile.ZipFile(path) as archive:
            packed = sum(one.file_size for one in archive.infolist())
            if packed > path.stat().st_size:  # torch compresses nothing: it would fill the memory
                message = f"is no .pt2 file: it claims to hold {packed:,} bytes, more than it has"
                raise ConfigError(Problem(str(path), message))
            members = {name.partition("/")[2]: archive.read(name) for name in _names(archive)}
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise ConfigError(Problem(str(path), f"is no .pt2 file: {error}")) from error
    if f"extra/{about}" not in members or "models/model.json" not in members:
        hint = "only files of `predict --export` say what their classes are"
        raise ConfigError(Problem(str(path), f"holds no {about}", hint))
    found = next(_suspicious(members), None)
    if found is not None:
        raise ConfigError(Problem(str(path), f"is not read, since it could run code: {found}"))
    return members[f"extra/{about}"].decode("utf-8", errors="replace")


def _names(archive: zipfile.ZipFile) -> list[str]:
    return [name for name in archive.namelist() if not name.endswith("/")]


def _suspicious(members: dict[str, bytes]) -> Iterator[str]:
    """Yield, as text, everything that an exported network has no need of."""
    for name, content in members.items():
        if not MEMBERS.fullmatch(name):
            yield f"the file {name}"
        if name.startswith("data/sample_inputs/") and not _is_empty_pickle(content):
            yield f"the pickle {name}"
        if name.endswith(".json") and not name.startswith("extra/"):
            try:
                value = json.loads(content)
            except ValueError:
                yield f"{name}, which is no JSON"
                continue
            yield from _suspicious_json(value)


def _is_empty_pickle(content: bytes) -> bool:
    return len(content) == 0


def _suspicious_json(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _suspicious_json(item)
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        if key == "use_pickle" and item is not False:
            yield "something pickled"
        elif key == "target" and not (isinstance(item, str) and TARGET.fullmatch(item)):
            yield f"the operator {item!r}"
        elif key == "expr_str" and not _is_arithmetic(item):
            yield f"the expression {str(item)[:99]!r}"
        elif key == "guards_code" and not all(map(_is_arithmetic, item or ())):
            yield f"the guards {str(item)[:99]!r}"
        elif key in SPECS and item != treespec_dumps(tree_structure(SPECS[key])):
            yield f"the structure {str(item)[:99]!r}"
        elif key in FORBIDDEN:
            yield f"an argument of the kind {key}"
        yield from _suspicious_json(item)


def _is_arithmetic(text: Any) -> bool:
    if not isinstance(text, str):
        return False
    rest = SIZE.sub(" ", SYMBOL.sub(" ", text))
    words = re.findall(r"[^\W]+", rest)
    return re.fullmatch(r"[\w\s()+\-*/%<>=!,]*", rest) is not None and all(map(WORDS.fullmatch, words))
