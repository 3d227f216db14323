"""What a process may take of a GPU, and in which numbers it computes there."""

from __future__ import annotations

import pytest
import torch
from virtual_gpu import virtual_gpus

from wsss.config.params.stages import ClassifierParams
from wsss.models import CamNetwork, create_backbone
from wsss.models.computing.memory import free_memory
from wsss.models.computing.precision import Precision, applied, card_facts, placed

CUDA, CPU = torch.device("cuda"), torch.device("cpu")
GIB = 2**30


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"free": 10 * GIB}, 10),
        ({"free": 10 * GIB, "reserved": 6 * GIB, "allocated": GIB}, 15),
        ({"free": 40 * GIB, "reserved": 30 * GIB, "allocated": 10 * GIB, "fraction": 0.5}, 30),
        ({"free": 40 * GIB, "reserved": 45 * GIB, "allocated": 45 * GIB, "fraction": 0.5}, 0),
    ],
    ids=["of others", "what this process caches is free for it", "its share, less its tensors", "beyond it"],
)
def test_free_memory_of_a_gpu(facts: dict[str, float], expected: int) -> None:
    with virtual_gpus(total=80 * GIB, **facts):
        assert free_memory(CUDA) == expected * GIB


def test_bf16_where_the_card_has_it_else_fp16_and_neither_on_a_cpu() -> None:
    amp = Precision.of(ClassifierParams())
    assert amp == Precision(amp=True, tf32=False), "both are stated defaults"
    for bf16, kind in ((True, torch.bfloat16), (False, torch.float16)):
        with virtual_gpus(bf16=bf16):
            assert (amp.kind(CUDA), amp.kind(CPU)) == (kind, torch.float32)
            assert Precision().kind(CUDA) == torch.float32
            assert amp.facts(CUDA) == {"amp": str(kind).removeprefix("torch."), "tf32": False}
    assert amp.facts(CPU) == {}


def test_a_network_is_applied_as_it_was_trained() -> None:
    network = CamNetwork(create_backbone("mobilenet_v2", "none"), 2)
    with virtual_gpus():
        placed(network, CUDA, Precision(amp=True))
        assert applied(network, CUDA).fast_dtype == torch.bfloat16
        with applied(network, CUDA):
            assert torch.is_autocast_enabled("cuda")
        with applied(object(), CUDA):
            assert not torch.is_autocast_enabled("cuda"), "a program of others says nothing"


def test_tf32_is_what_the_parameters_say_on_a_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    network = torch.nn.Linear(2, 2)
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        placed(network, CPU, Precision(tf32=not before[1]))
        assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before
        for tf32 in (True, False):
            with virtual_gpus():
                placed(network, CUDA, Precision(tf32=tf32))
            assert torch.backends.cuda.matmul.allow_tf32 is torch.backends.cudnn.allow_tf32 is tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_a_record_names_what_decides_over_the_last_bits() -> None:
    assert card_facts("cpu") == {}, "the processor is recorded beside"
    with virtual_gpus():
        facts = card_facts("cuda")
    assert facts["card"] == "Virtual GPU" and facts["capability"] == "9.0"
    assert {"cuda", "cudnn"} <= set(facts)
