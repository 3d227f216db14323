"""What a trial does before it uses its GPU: wait until it is free, or keep to its share of it."""

from __future__ import annotations

import gc
import time

import torch

WAIT_SECONDS = 60.0
FREE = 0.2
"""Others may hold this part of a GPU that a trial has for itself: contexts, a display."""


def prepare_gpu(gpus: float, *, wait: float = WAIT_SECONDS) -> float:
    """Make ready the GPUs that Ray gave to this process; return the seconds that were waited.

    With a fraction, the process is held to that share of the memory, so that it can't take its
    neighbour's. With whole GPUs, the memory of a trial that was stopped just before may still be
    held for seconds: wait until it is given back, at most `wait` seconds; a trial that starts
    without enough memory then says so itself.
    """
    if not torch.cuda.is_available():
        return 0.0
    if 0 < gpus < 1:
        torch.cuda.set_per_process_memory_fraction(gpus)
        return 0.0
    gc.collect()
    torch.cuda.empty_cache()
    began = time.monotonic()
    while max(map(_held_by_others, range(torch.cuda.device_count()))) > FREE:
        if time.monotonic() - began >= wait:
            break
        time.sleep(0.5)
    return time.monotonic() - began


def _held_by_others(device: int) -> float:
    """Return the part of a GPU's memory, in [0, 1], that this process has not reserved and can't have."""
    free, total = torch.cuda.mem_get_info(device)
    return (total - free - torch.cuda.memory_reserved(device)) / total
