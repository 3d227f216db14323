"""What a trial does before it uses its GPU: wait while others leave it, or keep to its share of it."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator

import torch

WAIT_SECONDS = 60.0
PATIENCE = 5.0
"""Seconds without a fall of what others hold, after which they are taken to keep it."""
POLL = 0.5
FREE = 0.2
"""Others may hold this part of a GPU that a trial has for itself: contexts, a display."""
MARGIN = 0.02
CONTEXT = 2**29
"""Bytes of a GPU that CUDA takes for each process before its first tensor, its kernels among them."""

_kept: dict[int, float] = {}
"""The part of each GPU that others were seen to keep: this process doesn't wait for it again."""


def prepare_gpu(gpus: float, *, wait: float = WAIT_SECONDS) -> Iterator[str]:
    """Make ready the GPUs that Ray gave to this process; yield, again and again while it waits, for whom.

    With a fraction, the process is held to that share of the memory, less what CUDA takes for itself, so that
    it can't take its neighbour's. With whole GPUs, the memory of a trial that was stopped just before may
    still be held for seconds: wait while others' use falls, at most `wait` seconds. What they keep, such as a
    display, isn't waited for; a trial that starts without enough memory then says so itself.
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
    """Return the part of a GPU's memory, in [0, 1], that this process has not reserved and can't have."""
    free, total = torch.cuda.mem_get_info(device)
    return float((total - free - torch.cuda.memory_reserved(device)) / total)
