"""What to say when a stage has asked for more memory than there was."""

from __future__ import annotations

import torch

from wsss.config.params.base import Params
from wsss.models.computing.memory import GIB, gpu_share

ASKED = ("batch", "crop", "accumulate", "scales", "size")
"""Parameters that decide how much a stage takes."""
WORDS = ("out of memory", "CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED", "can't allocate memory")
"""By which libraries say it in errors of no class of their own."""


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that there was not enough memory, of a GPU or of the machine."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in WORDS)


def described(stage: str, params: Params, device: str) -> str:
    """Return what was asked for, what it was asked of, and what would take less.

    Args:
        stage: its name in the chain.
        params: its parameters.
        device: a torch device string.
    """
    found = {name: getattr(params, name) for name in ASKED if getattr(params, name, None) is not None}
    listed = {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}
    asked = ", ".join(f"`{name}` {value}" for name, value in listed.items())
    with_these = f" with {asked}" if asked else ""
    return f"{stage} ran out of memory{with_these}, on {_place(device)}; {_way_out(found)}"


def _place(device: str) -> str:
    place = torch.device(device)
    if place.type != "cuda":
        return "the CPU"
    share, total = gpu_share(place)
    kept = "the whole" if share >= 1 else f"a share of {share:.0%}"
    return f"{kept} of {torch.cuda.get_device_name(place)}, {share * total / GIB:.1f} GiB"


def _way_out(found: dict[str, object]) -> str:
    ways = []
    if "accumulate" in found:
        ways.append("a larger `accumulate` changes no result")
    if "batch" in found and "accumulate" not in found:
        ways.append("give a smaller `batch`")
    ways += [f"a smaller `{name}`" for name in ("crop", "size") if name in found]
    if "scales" in found:
        ways.append("smaller `scales`")
    return ", or ".join([*ways, "more of `resources.gpu`"])
