"""The benchmarks run: as small as can be, so that their verdicts on speed mean nothing here."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SMALL = {
    "orchestration.py": (
        "--only overhead growth artefacts --trials 2 --many 40 --on-ray 8 --sizes 20 40",
        ["overhead: 2 no-op trials", "growth: 40 no-op", "growth: 8 no-op trials on Ray", "40 artefacts"],
        6,
    ),
    "photo_memory.py": (
        "--megapixels 0.02 --photos 4 --only classifier cams cams.scores",
        ["4 photos, 2 threads", "| cams | "],
        1,
    ),
    "gpu.py": ("--short --images 4 --rounds 1", ["classifier step", "reading, a CPU", "limit: "], 1),
    "refinement.py": ("--only pairs flat --images 80", ["pairs   loss", "by walk and CRF"], 8),
}


BUSY = runpy.run_path(str(ROOT / "benchmarks/busy.py"))


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", SMALL)
def test_a_small_run_prints_its_figures_and_a_verdict_on_each_target(name: str) -> None:
    words, lines, verdicts = SMALL[name]
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / name), *words.split()],
        capture_output=True,
        text=True,
        timeout=390,
        env={**os.environ, "PYTHONPATH": str(ROOT), "RAY_ADDRESS": "local"},  # no other test's cluster
    )
    assert done.returncode in (0, 1), done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    for line in lines:
        assert line in done.stdout
    found = re.findall(r"^  (met   |MISSED)  ", done.stdout, re.MULTILINE)
    assert len(found) >= verdicts
    assert (done.returncode == 1) == ("MISSED" in found), "a missed target is the exit code"


def test_the_table_of_costs_has_every_size_of_every_kind_at_its_quickest() -> None:
    costs = runpy.run_path(str(ROOT / "benchmarks/costs.py"))

    def row(seconds: float, *, size: int = 288, backbone: str = "resnet50", bytes: int = 7) -> dict[str, Any]:
        params = {"size": size, "scales": [1.0], "flip": True}
        work = {"images": 10, "pixels": 180_000, "backbone": backbone}
        return {
            "stage": "cams", "params": params, "work": work, "device": "cpu", "threads": 1,
            "seconds": seconds, "bytes": bytes,
        }  # fmt: skip

    slow, quick, small, other = row(90.0), row(30.0, bytes=0), row(9.0, size=96), row(20.0, backbone="vit")
    found = costs["quickest"]([slow, small, quick, other])
    assert sorted(one["seconds"] for one in found) == [9.0, 20.0, 30.0]
    assert {one["bytes"] for one in found} == {7}, "an archive has no files left"
    assert costs["quickest"]([*found, *found]) == found


def driver(folder: Path, text: str) -> None:
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "nvidia-smi").chmod(0o755)


def test_how_busy_a_gpu_is_comes_from_its_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver(tmp_path, "echo $@ > $(dirname $0)/asked; printf '100\\n50\\n[N/A]\\n90\\n'; exec sleep 60")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with BUSY["GpuBusy"]() as busy:
        deadline = time.monotonic() + 30
        while len(busy._shares) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert busy.share == pytest.approx(0.8)
    assert busy._driver is not None and busy._driver.poll() is not None, "no driver is left behind"
    assert (tmp_path / "asked").read_text().split() == list(BUSY["COMMAND"][1:])


def test_without_a_driver_nobody_can_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with BUSY["GpuBusy"]() as busy:
        pass
    assert busy.share is None
