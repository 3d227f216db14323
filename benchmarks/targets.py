"""What a benchmark holds itself to: targets, printed with their verdicts; a missed one is an exit code."""

from __future__ import annotations

import sys

_missed: list[str] = []


def target(met: bool, told: str) -> None:
    """Print a target and whether it is met."""
    print(f"  {'met   ' if met else 'MISSED'}  {told}", flush=True)
    if not met:
        _missed.append(told)


def conclude() -> None:
    """Leave with 1 if a target was missed."""
    if _missed:
        sys.exit(f"{len(_missed)} missed: {'; '.join(_missed)}")
