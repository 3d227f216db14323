"""One way to speak to Ray for all tests of this room."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def _without_tokens() -> Iterator[None]:
    """A process asks once whether Ray wants tokens and believes that to its end: with two answers, tests that
    share it wait for each other's clusters in vain. Tests of tokens start Ray in processes of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        # Other workers of the suite have clusters of their own on this machine.
        patch.setenv("RAY_ADDRESS", "local")
        yield
