"""What a trial does before it uses its GPU: it waits while others leave, or limits itself to its share."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator

import torch

WAIT_SECONDS = 60.0
PATIENCE = 5.0
"""When others' memory has not fallen for so many seconds, the trial stops waiting for them."""
POLL = 0.5
FREE = 0.2
"""The part of a whole GPU that others may hold without a wait: contexts, a display."""
MARGIN = 0.02
CONTEXT = 2**29
"""Bytes of a GPU that CUDA takes for each process before its first tensor, for its kernels and context."""

_kept: dict[int, float] = {}
"""The part of each GPU that others kept during an earlier wait; this process waits for it only once."""


def prepare_gpu(gpus: float, *, wait: float = WAIT_SECONDS) -> Iterator[str]:
    """Prepare the GPUs that Ray gave to this process; while it waits, yield again and again for whom.

    With a fraction, the process may take that share of the memory, less CUDA's own, and so leaves its
    neighbour's alone. With whole GPUs, a trial that was stopped just before may hold memory for some
    seconds: the process waits while others' use falls, at most `wait` seconds. It does not wait for memory
    that others keep, such as a display's; if too little is left, the trial itself reports that.
    """
    if not torch.cuda.is_available():
        return
    if 0 < gpus < 1:
        _, total = torch.cuda.mem_get_info(0)
        torch.cuda.set_per_process_memory_fraction(max(gpus / 2, gpus - CONTEXT / total))
        return
    gc.collect()
    torch.cuda.empty_cache()
    for device in range(torch.cuda.device_count()):
        yield from _wait_for(device, wait)


def _wait_for(device: int, wait: float) -> Iterator[str]:
    enough = max(FREE, _kept.get(device, 0.0) + MARGIN)
    began = fell = time.monotonic()
    held = least = _held_by_others(device)
    while held > enough:
        now = time.monotonic()
        if now - fell >= PATIENCE or now - began >= wait:
            _kept[device] = held
            yield f"no longer for other programs, which keep {held:.0%} of GPU {device}'s memory"
            return
        yield f"for other programs to leave GPU {device}: they hold {held:.0%} of its memory"
        time.sleep(POLL)
        held = _held_by_others(device)
        if held < least - MARGIN / 2:
            least, fell = held, time.monotonic()


def _held_by_others(device: int) -> float:
    """Return the part of a GPU's memory, in [0, 1], that other processes hold."""
    free, total = torch.cuda.mem_get_info(device)
    return float((total - free - torch.cuda.memory_reserved(device)) / total)
