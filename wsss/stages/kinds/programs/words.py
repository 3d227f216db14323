"""The words of a `command`: placeholders in braces, and what a word must not hold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from wsss.addresses import is_secret_name
from wsss.errors import quoted

LISTS = ("train", "holdout", "select", "report", "test", "labelled", "images")
PLACEHOLDERS = (
    *("data.root", "data.classes", "data.labels", *(f"data.{name}" for name in LISTS)),
    *("out", "work", "seed", "threads", "device", "gpu"),
)
"""The placeholders of `run` besides the names of earlier stages."""
LAYOUTS = ("npz",)
"""The layouts that may follow the name of a stage that makes CAMs: {cams.npz}."""
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_SECRET_OPTION = re.compile(
    r"(?i)(password|passwd|secret|(api|access|secret|wandb|auth|hf|hub)[-_]?(key|token))$"
)


def as_word(value: object) -> str:
    """Return an argument as a text: true and false as YAML has them."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def placeholders(word: str) -> Iterator[str]:
    """Iterate over the names in braces in a word; {{ and }} are braces."""
    for found in _PLACEHOLDER.finditer(word):
        if found[0] not in ("{{", "}}"):
            yield found[1] or ""


def filled(word: str, values: Mapping[str, str]) -> str:
    """Return a word with its placeholders replaced."""
    word = word.replace("$$", "$")
    return _PLACEHOLDER.sub(lambda found: found[0][0] if found[1] is None else values[found[1]], word)


def stage_named(placeholder: str) -> tuple[str, str]:
    """Return the stage that a placeholder names, and the layout that it asks for."""
    name, _, layout = placeholder.rpartition(".")
    return (name, layout) if name and layout in LAYOUTS else (placeholder, "")


def wrong_word(word: str, following: Sequence[str]) -> str:
    """Return what is wrong with a word of `run`, which others follow; empty when nothing is."""
    if "\0" in word:
        return f"`run` holds {quoted(word)}, but no program can be given a NUL character"
    if found := re.search(r"\$([A-Za-z_]\w*|\{)", word.replace("$$", "")):
        hint = "a variable stands alone, as in `--alpha, $alpha`; `$$` is a dollar"
        return f"`run` holds {quoted(word)}, but {quoted(found[0])} inside of a word isn't filled in; {hint}"
    name, equals, value = word.partition("=")
    value = value if equals else following[0] if following and word.startswith("-") else ""
    looks = _SECRET_OPTION.search(name) if word.startswith("-") else name.isupper() and is_secret_name(name)
    if looks and value and not value.startswith("-"):
        hint = "what is in a study is written down; the program can read it from a file of yours"
        return f"`run` holds {quoted(name)} with a value, which looks like a secret; {hint}"
    return ""
