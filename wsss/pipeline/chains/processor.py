"""Which processor this is: the same study gives the same bits on the same type alone."""

from __future__ import annotations

import functools
import platform
from pathlib import Path

CPU_FACTS = Path("/proc/cpuinfo")


@functools.cache
def processor() -> str:
    """Return the processor's type and the widest vector instructions that torch uses on it, as in
    "AMD EPYC 7B13, AVX2"."""
    import torch

    return f"{_model()}, {torch.backends.cpu.get_cpu_capability()}"


def _model() -> str:
    try:
        lines = CPU_FACTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "model name" and value.strip():
            return " ".join(value.split())
    return platform.processor() or platform.machine() or "unknown"
