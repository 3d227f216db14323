"""Property-based fuzzing: whatever strangers write, one of our own errors comes of it, soon."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest
from bounds import MOST_MEMORY
from hypothesis import HealthCheck, settings

# The same examples every time, so that nobody's change fails for somebody else's fault. How long one
# takes is measured by `bounds`, in processor time: machines that run tests are busy.
settings.register_profile(
    "fuzz",
    derandomize=True,
    deadline=None,
    database=None,
    print_blob=False,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
        HealthCheck.large_base_example,
    ],
)


@pytest.fixture(scope="session", autouse=True)
def _fuzz_profile() -> Iterator[None]:
    before = settings.default
    settings.load_profile("fuzz")
    yield
    if before is not None:
        settings.register_profile("before-fuzz", before)
        settings.load_profile("before-fuzz")


@pytest.fixture(scope="module", autouse=True)
def _bounded_memory() -> Iterator[None]:
    """A module's examples may add this much to what the process has ever held."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (after - before) * 1024 < MOST_MEMORY
