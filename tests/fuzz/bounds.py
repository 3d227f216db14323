"""What holds for every hostile input: an error of ours or none, within time, short, printable."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from hypothesis import HealthCheck, settings

from wsss.errors import WsssError

SECONDS = 2.0
"""Processor time of one example."""
MOST_BYTES = 4096
MOST_MEMORY = 512 * 1024**2
Result = TypeVar("Result")


def examples(number: int) -> settings:
    """Return Hypothesis' settings of a fuzz test: the same examples every time, so that nobody's change
    fails for somebody else's fault, and no deadline on the clock, as machines that run tests are busy."""
    return settings(
        max_examples=number,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def survives(call: Callable[[], Result], *more: type[Exception]) -> Result | None:
    """Return what `call` returns, None if it raises an error of ours, or one of `more`.

    Anything else it raises fails the test, as does a message that a terminal could obey or that fills
    more than a screen.
    """
    begun = time.thread_time()
    try:
        result = call()
    except WsssError as error:
        result = None
        told(f"error: {error}\n")
    except more as error:
        result = None
        told(str(error))
    assert time.thread_time() - begun < SECONDS
    return result


def told(text: str) -> None:
    """Check what is printed of an error."""
    assert len(text.encode()) <= MOST_BYTES
    assert all(c.isprintable() or c in "\n\t" for c in text), repr(text)
    assert "Traceback" not in text and "a fault of wsss" not in text, text
