"""GPUs that aren't there: real numbers on the CPU, in tensors that say they lie on `cuda:N`.

An operation on tensors of two devices raises `MixedDevices`, as a GPU would, and so does `.numpy()` without
`.cpu()`. Autograd, optimisers, loss scaling, sparse matrices, checkpoints and whole stages work:

    with virtual_gpus() as card:
        list(run_chain("t", chain, store, view, device="cuda", threads=1))
    assert card.waits == 0

torch's C++ takes these tensors for `meta` ones, whose autograd needs no CUDA; Python sees `cuda:N`. What such a
card can't show: speed, kernels' limits, rounding of reduced precision (no cast happens inside autocast).
"""

from __future__ import annotations

import contextlib
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

import wsss

PACKAGE = Path(wsss.__file__).parent

aten = torch.ops.aten
COPIES = {aten.copy_.default, aten._to_copy.default}
TAKES_CPU_INDICES = {
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
    aten._unsafe_index.Tensor,
}
"""Operations to which CUDA takes indices that lie on the CPU."""
TAKES_NO_CPU_SCALARS = {
    aten.cat.default,
    aten.stack.default,
    aten.mm.default,
    aten.bmm.default,
    aten.addmm.default,
    aten.convolution.default,
    aten.scatter_reduce.two,
    aten.gather.default,
    aten.index_select.default,
}
"""Operations that refuse even a tensor without dimensions of the CPU; element by element they are welcome."""
WAITING = {
    aten._local_scalar_dense.default: "item",
    aten.nonzero.default: "nonzero",
    aten.masked_select.default: "masked_select",
    aten.equal.default: "equal",
    aten.unique_dim.default: "unique",
    aten._unique2.default: "unique",
}
"""Operations for which the CPU waits until the card has done all that it was given."""
WAIT, UPLOAD, PAGED, EMPTIED = "wait", "upload", "upload from pageable memory", "empty_cache"


class MixedDevices(RuntimeError):
    """Tensors of several devices met in one operation: a transfer was forgotten."""


class Race(RuntimeError):
    """A stream read what another one may not have made yet, or whose memory may be given away meanwhile."""


@dataclass
class Card:
    """What happened on the virtual GPUs.

    Args:
        gpus: how many there are.
        free: bytes that `mem_get_info` names, of each.
        total: bytes of each.
        reserved: bytes that this process holds in torch's cache, its tensors included.
        allocated: bytes of its tensors.
        bf16: whether the cards compute in bfloat16.
    """

    gpus: int = 1
    free: int = 70 * 2**30
    total: int = 80 * 2**30
    reserved: int = 0
    allocated: int = 0
    bf16: bool = True
    current: int = 0
    stream: int = 0
    """The stream that is given work now."""
    tick: int = 0
    seen: Counter[tuple[int, int]] = field(default_factory=Counter)
    """Up to which tick a stream has waited for another."""
    fraction: float = 1.0
    counts: Counter[str] = field(default_factory=Counter)
    places: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often each thing happened, and in which line of the package."""

    @property
    def waits(self) -> int:
        """How often the CPU waited for the card."""
        return self.counts[WAIT]

    def note(self, what: str) -> None:
        self.counts[what] += 1
        self.places[what, _line()] += 1

    def index(self, device: Any) -> int:
        number = device if isinstance(device, int) else torch.device(device or "cuda").index
        number = self.current if number is None else number
        if number >= self.gpus:
            raise RuntimeError(f"CUDA error: invalid device ordinal {number}")
        return number

    def check_streams(self, tensors: list[VirtualTensor]) -> None:
        """Raise `Race` where the stream that is given work reads tensors that it didn't wait for."""
        for tensor in tensors:
            made, tick = tensor.made
            if made == self.stream:
                continue
            if self.seen[self.stream, made] < tick:
                raise Race(f"stream {self.stream} reads what stream {made} may not have made, at {_line()}")
            if self.stream not in tensor.readers:
                raise Race(f"record_stream was forgotten of what stream {self.stream} reads, at {_line()}")

    def empty_cache(self) -> None:
        self.note(EMPTIED)
        self.free += self.reserved - self.allocated
        self.reserved = self.allocated


class Stream:
    """One of `torch.cuda.Stream`; work of different streams is in no order but that of their events."""

    count = 0

    def __init__(self, device: Any = None, number: int | None = None) -> None:
        Stream.count += number is None
        self.number = Stream.count if number is None else number

    def record_event(self) -> tuple[int, int]:
        assert _card is not None
        return self.number, _card.tick

    def wait_event(self, event: tuple[int, int]) -> None:
        assert _card is not None
        other, tick = event
        _card.seen[self.number, other] = max(tick, _card.seen[self.number, other])


@contextlib.contextmanager
def _on_stream(stream: Stream) -> Iterator[None]:
    assert _card is not None
    before, _card.stream = _card.stream, stream.number
    try:
        yield
    finally:
        _card.stream = before


_card: Card | None = None
_asked: int | None = None
"""The index of the card that Python named in the call that is under way."""


class VirtualTensor(torch.Tensor):
    """A tensor of the CPU that says it lies on `cuda:index`."""

    inner: torch.Tensor
    index: int
    made: tuple[int, int]
    """The stream that made it, and when."""
    readers: set[int]
    """Other streams that `record_stream` has named."""

    @staticmethod
    def __new__(cls, inner: torch.Tensor, index: int) -> VirtualTensor:
        plain = inner.layout == torch.strided
        self: Any = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride() if plain else torch.empty(inner.shape, device="meta").stride(),
            storage_offset=inner.storage_offset() if plain else 0,
            dtype=inner.dtype,
            device=torch.device("meta"),
            requires_grad=False,
        )
        self.inner, self.index = inner.detach() if inner.requires_grad else inner, index
        assert _card is not None
        _card.tick += 1
        self.made, self.readers = (_card.stream, _card.tick), set()
        return self

    device = property(lambda self: torch.device("cuda", self.index))
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)
    is_meta = property(lambda self: False)
    layout = property(lambda self: self.inner.layout)

    def __repr__(self) -> str:
        return f"VirtualTensor({tuple(self.shape)}, {self.inner.dtype}, cuda:{self.index})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise RuntimeError("a tensor of the virtual GPU was sent to another process")

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        copy: Any = VirtualTensor(self.inner.clone(), self.index)
        if isinstance(self, torch.nn.Parameter):
            copy = torch.nn.Parameter(copy, self.requires_grad)
        else:
            copy.requires_grad_(self.requires_grad)
        memo[id(self)] = copy
        return copy

    def record_stream(self, stream: Any) -> None:
        self.readers.add(stream.number)

    def tolist(self) -> Any:
        assert _card is not None
        _card.check_streams([self])
        _card.note(WAIT)
        return self.inner.tolist()

    def untyped_storage(self) -> Any:
        return self.inner.untyped_storage()

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("can't convert cuda tensor to numpy: Tensor.cpu() comes first")

    __array__ = numpy
    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _line() -> str:
    """Return the innermost line of the package that is at work."""
    for frame in reversed(traceback.extract_stack()):
        file = Path(frame.filename)
        if file.is_relative_to(PACKAGE):
            return f"{file.relative_to(PACKAGE)}:{frame.lineno}"
    return "?"


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Do an operation as a card would: on the numbers of its tensors, if they all lie on one device."""
    assert _card is not None
    if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"):
        with _Dispatch():  # inference mode leaves these whole
            result = func.decompose(*args, **kwargs)
        if result is not NotImplemented:
            return result
    leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    virtual = [leaf for leaf in leaves if isinstance(leaf, VirtualTensor)]
    _card.check_streams(virtual)
    target = virtual[0].index if virtual else None
    if kwargs.get("device") is not None:
        device = torch.device(kwargs["device"])
        kwargs = {**kwargs, "device": torch.device("cpu")}
        if device.type == "cpu":
            target = None
        elif device.type == "meta" and virtual and _asked is None:
            target = virtual[0].index  # C++ made one like another
        else:
            target = _card.index(_asked if device.type == "meta" else device)
    if func in COPIES:
        target = _copied(func, args, target)
    else:
        _refuse_mixed(func, args, virtual, leaves)
        if virtual and func in WAITING:
            _card.note(WAIT)
    if "sparse" in func.name():
        kwargs.pop("pin_memory", None)

    known: dict[int, torch.Tensor] = {}

    def unwrapped(value: Any) -> Any:
        if isinstance(value, VirtualTensor):
            known[id(value.inner)] = value
            return value.inner
        return value

    inner_args, inner_kwargs = tree_map(unwrapped, args), tree_map(unwrapped, kwargs)
    result = func(*inner_args, **inner_kwargs)
    # In inference mode a view of an ordinary tensor, such as a weight, is an ordinary tensor.
    aliased = any(one.alias_info is not None and not one.alias_info.is_write for one in func._schema.returns)
    ordinary = aliased and not any(leaf.is_inference() for leaf in virtual)

    def wrapped(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        if id(value) in known and func._schema.is_mutable:
            return known[id(value)]
        return value if isinstance(value, VirtualTensor) or target is None else VirtualTensor(value, target)

    with torch.inference_mode(torch.is_inference_mode_enabled() and not ordinary):
        return tree_map(wrapped, result)


def _copied(func: Any, args: Any, target: int | None) -> int | None:
    """Note a transfer and return where its result lies."""
    assert _card is not None
    if func is aten.copy_.default:
        into, source = args[0], args[1]
        target = into.index if isinstance(into, VirtualTensor) else None
    else:
        source = args[0]
    there = isinstance(source, VirtualTensor)
    if there and target is None:
        _card.note(WAIT)
    elif not there and target is not None and source.dim():
        _card.note(UPLOAD if getattr(source, "pinned", False) else PAGED)
    return target


def _refuse_mixed(func: Any, args: Any, virtual: list[VirtualTensor], leaves: list[torch.Tensor]) -> None:
    devices = {leaf.index for leaf in virtual}
    if len(devices) > 1:
        raise MixedDevices(f"{func}: tensors on {sorted(f'cuda:{n}' for n in devices)} at {_line()}")
    plain = [leaf for leaf in leaves if not isinstance(leaf, VirtualTensor)]
    if not virtual or not plain:
        return
    if func in TAKES_CPU_INDICES and isinstance(args[0], VirtualTensor):
        assert _card is not None
        _card.note(PAGED)
    elif func in TAKES_NO_CPU_SCALARS or any(leaf.dim() for leaf in plain):
        shapes = [(tuple(leaf.shape), leaf.device.type) for leaf in leaves]
        raise MixedDevices(f"{func}: tensors on cuda and on the cpu, {shapes}, at {_line()}")


class _Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        device = kwargs.get("device")
        if device is not None and torch.device(device).type in ("cuda", "meta"):
            return _run(func, args, kwargs)
        if any(isinstance(leaf, VirtualTensor) for leaf in tree_leaves((args, kwargs))):
            return _run(func, args, kwargs)
        return func(*args, **kwargs)


def _is_cuda(value: Any) -> bool:
    if isinstance(value, torch.device):
        return value.type == "cuda"
    return isinstance(value, str) and value.partition(":")[0] == "cuda"


class _Function(TorchFunctionMode):
    """Asks for `meta` where Python asks for `cuda`: torch would look for a driver."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        global _asked
        assert _card is not None
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.pin_memory:
            copy = args[0].clone()
            copy.pinned = True
            return copy
        if func is torch.Tensor.new_tensor and isinstance(args[0], VirtualTensor):
            _card.note(PAGED)
            made = torch.tensor(args[1], dtype=kwargs.get("dtype", args[0].dtype))
            return VirtualTensor(made, args[0].index)
        if func is torch.Tensor.cuda and not isinstance(args[0], VirtualTensor):
            func, args = torch.Tensor.to, (args[0], torch.device("cuda"))
        wanted = [value for value in (*args[1:], kwargs.get("device")) if _is_cuda(value)]
        if not wanted or func is torch.device:
            return func(*args, **kwargs)
        index = _card.index(wanted[0])
        if func in (torch.tensor, torch.as_tensor, torch.asarray):
            kwargs.pop("device")
            made = func(*args, **kwargs)
            if isinstance(made, VirtualTensor):
                return made
            if made.dim():
                _card.note(PAGED)
            return VirtualTensor(made, index)
        meta = torch.device("meta")
        args = tuple(meta if _is_cuda(value) else value for value in args)
        if _is_cuda(kwargs.get("device")):
            kwargs["device"] = meta
        before, _asked = _asked, index
        try:
            return func(*args, **kwargs)
        finally:
            _asked = before


def _walked(tree: Any, change: Any) -> Any:
    if isinstance(tree, dict):
        return type(tree)((key, _walked(value, change)) for key, value in tree.items())
    if isinstance(tree, list | tuple):
        return type(tree)(_walked(value, change) for value in tree)
    return change(tree)


@contextlib.contextmanager
def virtual_gpus(**facts: Any) -> Iterator[Card]:
    """Inside, torch says that it has GPUs; `facts` are those of `Card`."""
    global _card
    assert _card is None, "one at a time"
    card = _card = Card(**facts)
    real_save, real_load = torch.save, torch.load

    def save(content: Any, file: Any, **more: Any) -> None:
        # A real card's tensors are written with their device; here the file itself can't know it.
        real_save(
            _walked(content, lambda x: x.inner.clone() if isinstance(x, VirtualTensor) else x), file, **more
        )

    def load(file: Any, map_location: Any = None, **more: Any) -> Any:
        if map_location is None or torch.device(map_location).type != "cuda":
            return real_load(file, map_location=map_location, **more)
        index = card.index(map_location)
        loaded = real_load(file, map_location="cpu", **more)
        return _walked(loaded, lambda x: VirtualTensor(x, index) if isinstance(x, torch.Tensor) else x)

    patches: dict[Any, dict[str, Any]] = {
        torch: {"save": save, "load": load},
        torch.cuda: {
            "is_available": lambda: True,
            "is_initialized": lambda: False,
            "is_bf16_supported": lambda *args, **kwargs: card.bf16,
            "_lazy_init": lambda: None,
            "device_count": lambda: card.gpus,
            "current_device": lambda: card.current,
            "set_device": lambda device: setattr(card, "current", card.index(device)),
            "synchronize": lambda device=None: card.note(WAIT),
            "Stream": Stream,
            "stream": _on_stream,
            "current_stream": lambda device=None: Stream(number=card.stream),
            "empty_cache": card.empty_cache,
            "mem_get_info": lambda device=None: (card.free, card.total),
            "memory_reserved": lambda device=None: card.reserved,
            "memory_allocated": lambda device=None: card.allocated,
            "get_per_process_memory_fraction": lambda device=None: card.fraction,
            "set_per_process_memory_fraction": lambda share, device=None: setattr(card, "fraction", share),
            "get_device_name": lambda device=None: "Virtual GPU",
            "get_device_capability": lambda device=None: (9, 0) if card.bf16 else (7, 5),
        },
        torch.cuda.amp.common: {"amp_definitely_not_available": lambda: False},
    }
    old = [(module, name, getattr(module, name)) for module, own in patches.items() for name in own]
    try:
        for module, own in patches.items():
            for name, value in own.items():
                setattr(module, name, value)
        with _Dispatch(), _Function():
            yield card
    finally:
        for module, name, value in old:
            setattr(module, name, value)
        _card = None
