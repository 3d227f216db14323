"""Many settings of the background cost one walk, and give what walking for each of them gives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_data import tiny_data

from wsss.config import load_study_text
from wsss.config.params.stages import WalkedParams, WalkParams, WalkStageParams
from wsss.data.view import DataView, open_data
from wsss.errors import ConfigError
from wsss.models import AffinityNetwork, BoundaryNetwork, create_backbone
from wsss.pipeline.chains.chain import Chain
from wsss.pipeline.search.trials import sweep_trials
from wsss.stages.refining.walker import Walker, settled

STUDY = (
    f"name: kept\n{tiny_data(8, 4)}"
    + """\
sweeps:
  - name: masks
    search: SEARCH
    stages:
      - classifier: {backbone: efficientnet_lite0, epochs: 1, crop: 64, long_side: [64, 96]}
      - cams: {}
      - affinity_labels: {}
      - affinity: {backbone: efficientnet_lite0, epochs: 1, crop: 64, long_side: [64, 96]}
      - walk: WALK
      - pseudo_masks: {walked: WALKED}
"""
)


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> DataView:
    folder = tmp_path_factory.mktemp("view")
    study = load(search="{t: {choice: [1]}}", walk="{beta: $t}", walked="{background_threshold: 0.2}")
    return open_data(study.data, storage=folder)


def load(**words: str) -> Any:
    text = STUDY
    for name in sorted(words, key=len, reverse=True):
        text = text.replace(name.upper(), words[name])
    return load_study_text(text, source="kept.yaml", base=Path("/"))


def chains(view: DataView, **words: str) -> list[Chain]:
    study = load(**words)
    return [trial.chain for trial in sweep_trials(study, study.sweeps[0], [], view)]


def test_eight_thresholds_follow_one_walk(view: DataView) -> None:
    values = [0.05 * n for n in range(1, 9)]
    found = chains(
        view, search=f"{{t: {{choice: {values}}}}}", walk="{}", walked="{background_threshold: $t}"
    )
    assert len({chain["walk"].key for chain in found}) == 1
    assert len({chain["pseudo_masks"].key for chain in found}) == 8


def test_eight_exponents_follow_one_walk(view: DataView) -> None:
    values = [1, 2, 4, 8, 12, 16, 24, 32]
    walk = f"{{background_exponents: {values}}}"
    found = chains(
        view, search=f"{{e: {{choice: {values}}}}}", walk=walk, walked="{background_exponent: $e, crf: true}"
    )
    assert len({chain["walk"].key for chain in found}) == 1
    assert len({chain["pseudo_masks"].key for chain in found}) == 8


@pytest.mark.parametrize(
    ("walk", "walked", "said"),
    [
        ("{background_exponents: [4, 8]}", "{background_exponent: 5}", "those of `walk` are 4, 8"),
        ("{}", "{background_exponent: 5}", "background_exponents"),
        ("{background_exponents: [4]}", "{background_threshold: 0.2}", "only classes walk"),
        ("{}", "{}", "takes either `background_exponent` or `background_threshold`"),
        ("{}", "{background_exponent: 4, normalise: class}", "needs a `background_threshold`"),
    ],
)
def test_a_background_that_did_not_walk_is_refused(view: DataView, walk: str, walked: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        chains(view, search="{}", walk=walk, walked=walked)


RULES: list[Mapping[str, Any]] = [
    {"background_exponent": 4.0},
    {"background_exponent": 16.0},
    {"background_threshold": 0.25},
    {"background_threshold": 0.25, "normalise": "class"},
]


@pytest.fixture(scope="module")
def networks() -> Mapping[str, Any]:
    torch.manual_seed(0)
    kinds = {"affinity": AffinityNetwork, "boundary": BoundaryNetwork}
    return {name: kind(create_backbone("efficientnet_lite0", "none")) for name, kind in kinds.items()}


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("smaller", [False, True], ids=["whole", "smaller copy"])
@pytest.mark.parametrize("kind", ["affinity", "boundary"])
def test_what_was_kept_gives_what_walking_gives(
    kind: str, rule: Mapping[str, Any], smaller: bool, networks: Mapping[str, Any]
) -> None:
    network, rng = networks[kind], np.random.default_rng(0)
    rgb = rng.integers(0, 256, (100, 134, 3), dtype=np.uint8)
    cams = rng.random((2, 100, 134), dtype=np.float32)
    direct = Walker(network, WalkParams(log_steps=3, **rule), "cpu")
    exponents = (4.0, 16.0) if "background_exponent" in rule else ()
    keeping = Walker(network, WalkStageParams(log_steps=3, background_exponents=exponents), "cpu")
    if smaller:
        direct.budget = keeping.budget = int(0.7 * direct.memory(100, 134))
    expected = direct(rgb, cams)
    kept, size = keeping.on_grid(rgb, cams, exponents)
    assert (size != (100, 134)) == smaller
    if exponents:
        kept = kept[[exponents.index(rule["background_exponent"]), 2, 3]]
    found = settled(kept, network.stride, size, (100, 134), WalkedParams(**rule))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.array_equal(found.argmax(0), expected.argmax(0))
