"""wsss: experiments in weakly-supervised semantic segmentation, from image-level labels to pixel masks.

What a notebook uses stands here: `load`, `cams`, `crf`, `walk`, `mix`, `score`, `run`, `compare`. Importing
the package loads nothing; the first use does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsss.api import Ran, Scores, Trained, cams, compare, crf, load, mix, run, score, walk

__version__ = "0.1.0"
__all__ = [
    "Ran",
    "Scores",
    "Trained",
    "__version__",
    "cams",
    "compare",
    "crf",
    "load",
    "mix",
    "run",
    "score",
    "walk",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("wsss.api"), name)
    raise AttributeError(f"module 'wsss' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
