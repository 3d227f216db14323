"""How much memory a computation takes at its peak, counted on a small input, and how much there is."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import psutil
import torch
from torch.utils._pytree import tree_leaves

GIB = 2**30
PROBE = 250
"""No multiple of a stride at any usual scale: where that costs memory (padding), it is seen."""
NETWORK_PROBE = 128
"""For a network alone, which may not take every size: a multiple of all strides."""
SAFETY = 2.0
"""For what convolutions allocate for themselves: on a CPU DeepLab took 1.1 to 1.7 times what was counted,
affinity networks 1.1 to 1.8 times."""
FREE_SHARE = 0.8
"""Of the memory that is free: the rest is for the photo, its maps and other programs."""
CGROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")


if TYPE_CHECKING:  # torch gives it no types

    class TorchDispatchMode:
        def __enter__(self) -> Self: ...

        def __exit__(self, *error: object) -> None: ...
else:
    from torch.utils._python_dispatch import TorchDispatchMode


class PeakMemory(TorchDispatchMode):
    """Counts the bytes of all tensors made inside it that are alive at once; `peak` is their maximum.

    Tensors that were there before, such as weights, don't count. What an operation allocates within
    itself isn't seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for tensor in tree_leaves((args, kwargs)):
            if isinstance(tensor, torch.Tensor):
                for part in _parts(tensor):
                    self._pass_over(part)
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                for part in _parts(tensor):
                    self._count(part)
        return result

    def _pass_over(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._known:
            self._known.add(storage._cdata)
            weakref.finalize(storage, self._known.discard, storage._cdata)

    def _count(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata in self._known:
            return
        size = storage.nbytes()
        self._known.add(storage._cdata)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._forget, storage._cdata, size)

    def _forget(self, storage: int, size: int) -> None:
        self._known.discard(storage)
        self.live -= size


def _parts(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the tensors that hold a tensor's numbers: itself, or three of a sparse matrix."""
    if tensor.layout != torch.sparse_csr:
        return (tensor,)
    return tensor.crow_indices(), tensor.col_indices(), tensor.values()


def bytes_per_pixel(treat: Callable[[npt.NDArray[np.uint8]], Any], side: int = PROBE) -> float:
    """Return about how many bytes `treat` takes for each pixel of a photo, with a margin.

    It is tried on a small grey photo of `side` pixels. All it allocates grows with the photo's area.
    """
    photo = np.full((side, side, 3), 128, np.uint8)
    with PeakMemory() as memory:
        treat(photo)
    return SAFETY * float(memory.peak) / side**2


def network_bytes_per_pixel(network: Callable[[torch.Tensor], Any], device: torch.device | str) -> float:
    """Return about how many bytes a network takes for each pixel of one image, with a margin."""

    def treat(rgb: npt.NDArray[np.uint8]) -> Any:
        image = torch.from_numpy(rgb).to(device).permute(2, 0, 1)[None].float()
        return network(image.contiguous(memory_format=torch.channels_last))

    with torch.inference_mode():
        return bytes_per_pixel(treat, NETWORK_PROBE)


def used_memory() -> int:
    """Return the bytes of main memory that this process holds now."""
    return int(psutil.Process().memory_info().rss)


def free_memory(device: torch.device, cgroups: Path = CGROUPS, own: Path = OWN_GROUPS) -> int:
    """Return the bytes that this process may still take: of a GPU, its share of it; else of main memory.

    The limits of the container that the process runs in count, and those of all around it.

    Args:
        device: whose memory.
        cgroups: where Linux lists control groups.
        own: the file that names this process's group.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        share, total = gpu_share(device)
        held = torch.cuda.memory_allocated(device)
        # What this process keeps of tensors that are gone is taken for others and free for itself.
        cached = torch.cuda.memory_reserved(device) - held
        return max(0, int(min(free + cached, share * total - held)))
    return min([int(psutil.virtual_memory().available), *_left_by_limits(cgroups, own)])


def gpu_share(device: torch.device) -> tuple[float, int]:
    """Return the part of a GPU's memory that this process is held to, in (0, 1], and all of it in bytes."""
    _, total = torch.cuda.mem_get_info(device)
    return float(torch.cuda.get_per_process_memory_fraction(device)), int(total)


def _left_by_limits(cgroups: Path, own: Path) -> Iterator[int]:
    """Yield what each limit of Linux' control groups, of both versions, leaves; files' caches are free."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return  # another system
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root, names = cgroups, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            root = cgroups / "memory"
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts) + 1):
            try:
                limit, used, stat = _limit(root.joinpath(*parts[:depth]), names)
            except (OSError, ValueError, KeyError):
                continue  # no limit, or seen from inside of a container it isn't there
            yield max(0, limit - used + stat)


def _limit(group: Path, names: tuple[str, str, str]) -> tuple[int, int, int]:
    stat = dict(line.split() for line in (group / "memory.stat").read_text(encoding="utf-8").splitlines())
    return (
        int((group / names[0]).read_text(encoding="utf-8")),
        int((group / names[1]).read_text(encoding="utf-8")),
        int(stat[names[2]]),
    )
