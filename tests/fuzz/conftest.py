"""Property-based fuzzing: whatever strangers write, one of our own errors comes of it, soon."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from bounds import MOST_MEMORY


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Hundreds of examples a test: all of them run with the long tests."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="module", autouse=True)
def _bounded_memory() -> Iterator[None]:
    """A module's examples may add this much to the most that the process has held so far."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (after - before) * 1024 < MOST_MEMORY
