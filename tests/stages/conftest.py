"""A very small study on the sample set, run once for all tests of the stages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from made_once import made_once
from tiny_data import tiny_data
from toy_program import RUN, TOY

from wsss.config import load_study_text
from wsss.data.view import DataView, open_data
from wsss.pipeline.chains.chain import Chain, build_chain
from wsss.pipeline.chains.execute import run_chain
from wsss.pipeline.search.trials import sweep_trials
from wsss.stages import chunks, shards
from wsss.stages.scoring import agreement, scores
from wsss.store.folder_store import Store

STUDY = (
    f"name: tiny\n{tiny_data(14, 4, 'holdout: 0.2', 'test: {split: val}')}"
    + """\
sweeps:
  - name: cam
    arms:
      fmix:
        stages:
          - classifier: {as: first, method: probe, backbone: efficientnet_lite0, epochs: 2, crop: 64, long_side: [64, 96]}
          - features: {size: 64}
          - subcategories: {clusters: 2}
          - classifier: {method: fmix, subcategory_weight: 2, distillation: {weight: 0.5}, backbone: efficientnet_lite0, epochs: 3, batch: 4, crop: 64, long_side: [64, 96], rung: {images: 4, every: 2}}
          - cams: {scales: [1.0, 1.5]}
          - pseudo_masks: {crf: {iterations: 2}}
          - agreement
          - affinity_labels: {crf: {iterations: 2}}
          - affinity: {backbone: efficientnet_lite0, epochs: 3, batch: 4, crop: 64, long_side: [64, 96]}
          - pseudo_masks: {as: walk, walk: {log_steps: 5}}
          - affinity: {as: boundaries, kind: boundary, backbone: efficientnet_lite0, epochs: 2, batch: 4, crop: 64, long_side: [64, 96]}
          - pseudo_masks: {as: boundary_walk, confidence: true, walk: {log_steps: 3, background_threshold: 0.25, crf: true}}
          - walk: {as: kept_walk, log_steps: 3, background_exponents: [4, 16]}
          - pseudo_masks: {as: from_kept_walk, walked: {background_exponent: 4}}
          - segmenter: {from: boundary_walk, ignore_below: 0.4, backbone: efficientnet_lite0, iterations: 5, batch: 4, accumulate: 2, crop: 65, ema: 0.5, scales: [1.0, 0.5]}
          - segmentations: {flip: true, crf: {iterations: 2}}
          - predicted_masks: {as: alone, probability: 0.2, scales: [1.0], size: 96, crf: {iterations: 2}}
          - pixel_head: {as: few, from: first, supervision: {masks: 3}, learns: foreground, size: 96, scales: [1.0, 0.5], iterations: 60, batch: 2, channels: 8}
          - probabilities: {as: few_maps, scales: [1.0]}
          - pixel_head: {as: head, from: boundary_walk, size: 64, photos: 8, iterations: 20, batch: 2, channels: 8}
          - command: {as: theirs, makes: cams, run: [*RUN], folder: FOLDER, supervision: [image], progress: {pattern: 'epoch (?P<step>.*)/3 loss (?P<loss>.*)', steps: 3}}
          - command: {as: refined, makes: pseudo_masks, run: [python, refine_maps.py, "{theirs}", "{out}"], folder: FOLDER, supervision: [image], progress: {pattern: refined, steps: 14}}
"""
)
STUDY = STUDY.replace("*RUN", RUN).replace("FOLDER", str(TOY))


@pytest.fixture(scope="session")
def small_chunks() -> Iterator[None]:
    """Chunks of a few images, so that a set this small has several; one of them is drawn."""
    with pytest.MonkeyPatch.context() as patch:
        # Not the name in `shards`: a module that is imported now would keep it.
        patch.setattr(shards.split_shards, "__defaults__", (5,))
        patch.setattr(scores, "split_shards", lambda ids: cut(ids, 3))
        patch.setattr(agreement, "split_shards", lambda ids: cut(ids, 3))
        patch.setattr(scores, "PICTURES", 1)
        patch.setattr(chunks, "PER_WORKER", 5)
        yield


def cut(ids: list[str], size: int) -> list[list[str]]:
    return [list(ids[start : start + size]) for start in range(0, len(ids), size)]


@pytest.fixture(scope="session")
def tiny_view(tmp_path_factory: pytest.TempPathFactory) -> DataView:
    folder = tmp_path_factory.mktemp("tiny")
    study = load_study_text(STUDY, source="tiny.yaml", base=folder)
    return open_data(study.data, storage=folder, workers=1)


@pytest.fixture(scope="session")
def tiny_chain(tiny_view: DataView, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    study = load_study_text(STUDY, source="tiny.yaml", base=Path("/"))
    trial = sweep_trials(study, study.sweeps[0], [], tiny_view)[0]
    return build_chain(trial.parts, tiny_view, 0)


@pytest.fixture(scope="session")
def calm_store(
    tiny_chain: Chain, tiny_view: DataView, small_chunks: None, tmp_path_factory: pytest.TempPathFactory
) -> Store:
    """A store with the whole chain made without a pause. All workers share it, and none changes it."""

    def make(folder: Path) -> None:
        list(run_chain("calm", tiny_chain, Store(folder), tiny_view, device="cpu", threads=1))

    return Store(made_once(tmp_path_factory, "calm", make))
