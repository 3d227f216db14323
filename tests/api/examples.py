"""The examples of docstrings that need a study or its networks: fenced, so that doctest leaves them alone."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any

import wsss

FENCED = re.compile(r"^ *```python\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def run_examples(function: Callable[..., Any]) -> None:
    """Run a docstring's examples where they find what they name: `runs`, `tiny.yaml`, `photo.png`."""
    examples = FENCED.findall(inspect.getdoc(function) or "")
    assert examples, f"{function.__qualname__} has no example"
    for example in examples:
        exec(textwrap.dedent(example), {"wsss": wsss})
