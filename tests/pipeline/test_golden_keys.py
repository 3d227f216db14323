"""Keys name finished work: moving code must not change them, and everything that decides a result must."""

from __future__ import annotations

import json
from typing import Any

import pytest
from golden_keys import FILE, STUDIES, MadeUpData, study_keys

from wsss.config import load_study
from wsss.config.params.stages import CamsParams, ClassifierParams
from wsss.pipeline.chains.chain import Chain, Part, build_chain
from wsss.stages import STAGES

GOLDEN: dict[str, Any] = json.loads(FILE.read_text())


@pytest.mark.parametrize("file", STUDIES, ids=lambda path: path.name)
def test_keys_of_a_shipped_study_are_what_they_were(file: Any) -> None:
    assert study_keys(load_study(file)) == GOLDEN[file.name]


def test_every_recorded_study_is_shipped() -> None:
    assert {file.name for file in STUDIES} == set(GOLDEN)


def chain(seed: int = 0, **params: Any) -> Chain:
    classifier = ClassifierParams.model_validate(
        {"backbone": "efficientnet_lite0", "weights": "none", **params}
    )
    parts = [Part("classifier", "classifier", classifier), Part("cams", "cams", CamsParams())]
    return build_chain(parts, MadeUpData(), seed)


def test_a_version_is_part_of_the_key_and_of_the_keys_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = chain()
    monkeypatch.setattr(STAGES["classifier"], "version", STAGES["classifier"].version + 1)
    after = chain()
    assert all(before[label].key != after[label].key for label in ("classifier", "cams", "cams.scores"))


def test_a_version_changes_no_key_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = chain()
    monkeypatch.setattr(STAGES["cams"], "version", STAGES["cams"].version + 1)
    after = chain()
    assert before["classifier"].key == after["classifier"].key
    assert before["cams"].key != after["cams"].key


def test_seed_and_parameters_are_part_of_the_key() -> None:
    keys = {chain()["classifier"].key, chain(seed=1)["classifier"].key, chain(lr=0.02)["classifier"].key}
    assert len(keys) == 3
