"""How much memory a process may still take, in containers of both kinds."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import torch

from wsss.models.computing.memory import free_memory

CPU = torch.device("cpu")


def group(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


@pytest.mark.parametrize("path", ["/", "/pod/box", "/../../pod/box", "/of/the/host"])
def test_a_container_of_version_2(tmp_path: Path, path: str) -> None:
    own = tmp_path / "own"
    own.write_text(f"0::{path}\n")
    stat = "anon 7\ninactive_file 300\nactive_file 9"
    group(tmp_path / "cgroup", memory__max=5000, memory__current=4000, memory__stat=stat)
    group(tmp_path / "cgroup/pod", memory__max="max", memory__current=4000, memory__stat=stat)
    group(tmp_path / "cgroup/pod/box", memory__max=4200, memory__current=4000, memory__stat=stat)
    assert free_memory(CPU, tmp_path / "cgroup", own) == (500 if "box" in path else 1300)


def test_a_container_of_version_1(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("9:name=systemd:/\n4:cpu,memory:/box\n0::/\n")
    names = {"memory__stat": "inactive_file 1\ntotal_inactive_file 100"}
    group(tmp_path / "memory", memory__limit_in_bytes=2**63 - 4096, memory__usage_in_bytes=10**6, **names)
    assert free_memory(CPU, tmp_path, own) > 10**6
    group(tmp_path / "memory/box", memory__limit_in_bytes=7000, memory__usage_in_bytes=6000, **names)
    assert free_memory(CPU, tmp_path, own) == 1100
    group(tmp_path / "memory/box", memory__usage_in_bytes=9000)
    assert free_memory(CPU, tmp_path, own) == 0


def test_without_a_limit_it_is_what_the_machine_has(tmp_path: Path) -> None:
    found = free_memory(CPU, tmp_path, tmp_path / "none")
    assert found == pytest.approx(psutil.virtual_memory().available, rel=0.2)
