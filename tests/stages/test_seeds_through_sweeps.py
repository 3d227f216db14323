"""Seeds of one configuration stay together through later sweeps: never is the luckiest one picked."""

from __future__ import annotations

from pathlib import Path

from wsss.config import load_study_text
from wsss.data.view import DataView
from wsss.pipeline.search.selection import kept_trials
from wsss.pipeline.search.trials import sweep_trials

STUDY = """
name: seeds
data: {dataset: sample, select: {split: train, half: a}, report: {split: train, half: b}}
sweeps:
  - name: cam
    seeds: [1, 2, 3]
    arms:
      plain: {stages: [classifier: {backbone: efficientnet_lite0}, cams]}
  - name: masks
    searcher: grid
    search: {exponent: {choice: [2, 4]}}
    stages: [pseudo_masks: {background_exponent: $exponent}]
  - name: again
    replicate: masks
    seeds: [7, 8]
"""


def test_a_later_sweep_ranks_by_the_mean_and_keeps_every_seed(tiny_view: DataView) -> None:
    study = load_study_text(STUDY, source="s.yaml", base=Path("/"))
    cam, masks, again = study.sweeps
    first = sweep_trials(study, cam, [], tiny_view)
    second = sweep_trials(study, masks, first, tiny_view)
    assert {trial.configuration for trial in second} == {"masks-plain-000-000", "masks-plain-000-001"}
    assert len({trial.info.id for trial in second}) == 6
    assert [trial.info.seed for trial in second] == [1, 2, 3, 1, 2, 3], "all seeds of a configuration"
    # The first configuration has the luckiest seed, the second the better mean.
    scores = {(1, 2): 0.9, (2, 2): 0.1, (3, 2): 0.1, (1, 4): 0.5, (2, 4): 0.5, (3, 4): 0.5}
    metrics = {
        trial.info.id: {
            "pseudo_masks/select/miou": scores[trial.info.seed, int(trial.info.params["exponent"])]
        }
        for trial in second
    }
    kept = kept_trials(masks, second, metrics)
    assert [(trial.info.seed, trial.info.params["exponent"]) for trial in kept] == [(1, 4), (2, 4), (3, 4)]
    replicas = sweep_trials(study, again, kept, tiny_view)
    assert [trial.info.seed for trial in replicas] == [7, 8], "one configuration, on the new seeds alone"
    assert len({trial.chain["classifier"].key for trial in replicas}) == 2
