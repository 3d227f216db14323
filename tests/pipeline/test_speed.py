"""How fast stages are beside bare networks: what is measured and what it is taken to mean, not how fast it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from virtual_gpu import virtual_gpus

from wsss.pipeline.speed import settings as settings_module
from wsss.pipeline.speed.measure import Measured, measure
from wsss.pipeline.speed.settings import Settings, Speed, compared, short_settings
from wsss.pipeline.speed.verdict import limits, needed_cpus, outside, speed_rows

STEPS = ["classifier step", "CAMs", "features", "walk", "segmenter step"]


def tiny(device: str) -> Settings:
    return Settings(
        device, 1, "efficientnet_lite0", "package", crop=32, batch=2, images=4, photo=64, rounds=1, scales=(1.0,)
    )  # fmt: skip


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.long)])
def test_each_step_is_measured_on_either_device(device: str, tmp_path: Path) -> None:
    told: list[str] = []
    if device == "cpu":
        measured = measure(tiny(device), tmp_path, told.append)
    else:
        with virtual_gpus() as card:
            measured = measure(tiny(device), tmp_path, told.append)
            assert card.waits >= 2 * 2 * 2 * len(STEPS), "the clock is read when the card has done its work"
    assert [speed.step for speed in measured.speeds] == STEPS
    assert told == ["reading", *STEPS]
    assert measured.decoded > 0 and all(min(one.ours, one.bare, one.share) > 0 for one in measured.speeds)


def test_the_ratio_is_the_median_of_rounds_run_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = iter([9.0, 9.0, 2.0, 1.0, 4.0, 3.0, 8.0, 4.0])  # ours, bare, …; the first round warms up
    order: list[str] = []
    monkeypatch.setattr(settings_module, "seconds_of", lambda run, device: (run(), next(taken))[1])
    settings = tiny("cpu")
    settings = Settings(**{**vars(settings), "rounds": 3})
    speed = compared("x", 8, lambda: order.append("ours"), lambda: order.append("bare"), settings)
    assert order == ["ours", "bare"] * 4
    assert speed == Speed("x", ours=8 / 4.0, bare=8 / 3.0, share=0.5)  # of 1/2, 3/4 and 4/8


def measured(learns: float, reads: float, share: float = 0.95) -> Measured:
    speeds = [Speed(step, learns * share, learns, share) for step in STEPS]
    return Measured(tuple(speeds), reads)


GPU = short_settings("cuda", 8)


@pytest.mark.parametrize(
    ("learns", "reads", "cpus", "gpus", "state", "found"),
    [
        (400, 90, 4, 1, "note", "a trial takes 6 CPUs to keep up, this machine has 4 for each GPU"),
        (400, 90, 8, 1, "ok", "`resources.cpu` of 6 keeps up, 2 are left to score beside"),
        (400, 90, 12, 2, "ok", "`resources.cpu` of 6 keeps up, none is left to score beside"),
        (400, 90, 10, 2, "note", "this machine has 5 for each GPU"),
        (30, 90, 2, 1, "ok", "`resources.cpu` of 2 keeps up"),
    ],
)
def test_what_limits_a_study_on_a_gpu(
    learns: float, reads: float, cpus: int, gpus: int, state: str, found: str
) -> None:
    row = limits(measured(learns, reads), GPU, cpus, gpus)
    assert (row.what, row.state) == ("limit", state) and found in row.found
    begins = "the network" if state == "ok" else "reading photos"
    assert row.found.startswith(f"{begins}: a CPU reads {reads} images/s, the network learns from {learns}")


def test_without_a_gpu_the_share_outside_the_network_counts() -> None:
    good, bad = (limits(measured(18, 300, share), tiny("cpu"), 2, 0) for share in (0.96, 0.8))
    assert good.state == "ok" and "no GPU" in good.found and "4% of an epoch" in good.found
    assert bad.state == "note" and "20% of an epoch is outside of the network" in bad.found
    assert outside(Speed("x", 11, 10, 1.1)) == 0.0
    assert needed_cpus(measured(400, 90)) == 6 and needed_cpus(measured(1, 90)) == 2


def test_a_training_that_keeps_too_little_is_noted() -> None:
    rows = {row.what: row for row in speed_rows(measured(100, 90, 0.8))}
    assert [rows[step].state for step in STEPS] == ["note", "ok", "ok", "ok", "note"]
    assert rows["CAMs"].found == "80.0 images/s, 0.80 of the bare network's 100.0"
