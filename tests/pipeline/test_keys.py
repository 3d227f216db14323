"""What an artefact's key is made of: whatever changes a result changes it, and nothing else."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import toys

from wsss.config import load_study_text
from wsss.data.view import open_data
from wsss.files import sha256_json
from wsss.pipeline.chains.chain import Part, build_chain
from wsss.pipeline.search.trials import sweep_trials


def keys(data: Any, seed: int = 0, **params: Any) -> list[str]:
    parts = [Part("source", "source", toys.ToyParams(**params)), Part("sink", "sink", toys.ToyParams())]
    return [node.key for node in build_chain(parts, data, seed).nodes]


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    return toys.install(monkeypatch)


def test_a_key_is_the_hash_of_stage_version_parameters_inputs_images_and_seed(data: Any) -> None:
    params = {"length": 4, "add": 1.0, "fail_at": 0}
    content = {"stage": "source", "version": 1, "params": params, "inputs": {}, "data": {"images": "images"}}
    source = sha256_json(content | {"seed": 0})
    sink = content | {"stage": "sink", "inputs": {"source": source}, "seed": None}
    assert keys(data) == [source, sha256_json(sink)]


def test_a_version_that_is_raised_gives_the_stage_and_all_after_it_new_keys(
    data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = keys(data)
    monkeypatch.setattr(toys.SinkKind, "version", 2)
    after = keys(data)
    assert after[0] == before[0] and after[1] != before[1]
    monkeypatch.setattr(toys.SinkKind, "version", 1)
    monkeypatch.setattr(toys.SourceKind, "version", 2)
    after = keys(data)
    assert after[0] != before[0] and after[1] != before[1]


def test_so_do_parameters_images_and_the_seed_of_what_draws(data: Any) -> None:
    before = keys(data)
    for other in (keys(data, add=2.0), keys(data, seed=1)):
        assert other[0] != before[0] and other[1] != before[1]
    data.image_key = lambda ids: "others"
    assert keys(data)[0] != before[0]


def test_the_bytes_of_a_file_of_weights_count_and_not_where_it_lies(tmp_path: Path) -> None:
    text = """
data: {dataset: sample, sample: {train: 12, val: 4, size: 64}}
sweeps: [{name: all, supervision: [image], stages: [{classifier: {backbone: mobilenet_v2, weights: FILE}}, cams]}]
"""
    found = []
    for name, content in (("here/a.pth", b"one"), ("there/b.pth", b"one"), ("here/c.pth", b"other")):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        study = load_study_text(
            text.replace("FILE", str(path)), source="s.yaml", base=tmp_path, storage=str(tmp_path)
        )
        data = open_data(study.data, storage=tmp_path)
        (trial,) = sweep_trials(study, study.sweeps[0], [], data)
        found.append(trial.keys)
    assert found[0] == found[1]
    assert not set(found[0].values()) & set(found[2].values())
