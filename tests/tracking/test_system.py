"""How busy the machine was: sampled while a study runs, kept beside its ledger, brought back by `sync`."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from story import beginning, conclusion, ending, history, runs, tell

from wsss.store.storage import open_storage
from wsss.tracking import system
from wsss.tracking.system import SystemSampler, read_samples


def sample(folder: Path, count: int) -> None:
    sampler = SystemSampler(open_storage(folder), "made", 0.01)
    story_began = time.monotonic()
    while len(sampler._samples) < count and time.monotonic() - story_began < 60:
        time.sleep(0.01)
    sampler.close()


def test_samples_of_all_runs_are_kept_and_what_can_t_be_read_is_none(tmp_path: Path) -> None:
    (tmp_path / "studies/made").mkdir(parents=True)
    storage = open_storage(tmp_path)
    assert read_samples(storage, "made") == []
    sample(tmp_path, 3)
    first = read_samples(storage, "made")
    assert len(first) >= 3 and [when for when, _ in first] == sorted(when for when, _ in first)
    assert 0 <= first[0][1]["system/system_memory_usage_percentage"] <= 100
    sample(tmp_path, len(first) + 2)
    again = read_samples(storage, "made")
    assert again[: len(first)] == first and len(again) >= len(first) + 2
    for bad in ("[", "[1]", "[[1, 2]]", "3", '[["x", {}]]'):
        storage.write_note("made", system.FILE, bad)
        assert read_samples(storage, "made") == []


def test_of_many_samples_every_other_one_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "studies/made").mkdir(parents=True)
    monkeypatch.setattr(system, "MOST", 4)
    sampler = SystemSampler(open_storage(tmp_path), "made", 0.01)
    time.sleep(0.5)
    sampler.close()
    assert len(read_samples(open_storage(tmp_path), "made")) <= 5 and sampler._seconds > 0.01


def test_they_are_metrics_of_the_study_s_run_with_their_times(uri: str, tmp_path: Path) -> None:
    import dataclasses

    samples = [
        (1000, {"system/cpu_utilization_percentage": 10.0}),
        (3000, {"system/cpu_utilization_percentage": 30.0}),
    ]
    found = dataclasses.replace(conclusion(tmp_path), samples=samples)
    tell(uri, tmp_path, [*beginning(tmp_path), *ending(tmp_path)], conclude=found)
    tell(uri, tmp_path, [], conclude=found)
    own = runs(uri)["made"]
    assert history(uri, own, "system/cpu_utilization_percentage") == [(0, 10.0), (2, 30.0)]
    points = MlflowClient(uri).get_metric_history(own.info.run_id, "system/cpu_utilization_percentage")
    assert [point.timestamp for point in points] == [1000, 3000]
