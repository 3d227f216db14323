"""Sampling: the same list every time, longer lists extend shorter ones, arms are independent."""

from __future__ import annotations

from wsss.config import Distribution, load_study_text
from wsss.pipeline.search.sampling import best_configurations, sample_arm

STUDY = """
name: s
data: {dataset: sample, select: {split: train, half: a}, report: {split: train, half: b}}
sweeps:
  - name: cam
    arms:
      fmix:
        samples: 4
        search: {alpha: {loguniform: [0.2, 2.0]}, decay: {choice: [2, 3]}}
        stages: [classifier: {method: fmix, mixing: {alpha: $alpha, decay: $decay}}, cams]
"""


def search() -> dict[str, Distribution]:
    study = load_study_text(STUDY, source="s.yaml", base=__import__("pathlib").Path("/"))
    return dict(study.sweeps[0].arms[0].search)


def test_random_draws_are_reproducible_and_extend() -> None:
    four = sample_arm(search(), searcher="random", samples=4, seed=0, name="cam/fmix")
    six = sample_arm(search(), searcher="random", samples=6, seed=0, name="cam/fmix")
    assert six[:4] == four
    assert four != sample_arm(search(), searcher="random", samples=4, seed=1, name="cam/fmix")
    assert four != sample_arm(search(), searcher="random", samples=4, seed=0, name="cam/other")
    assert all(0.2 <= float(values["alpha"]) <= 2.0 and values["decay"] in (2, 3) for values in four)


def test_grid_is_the_product_in_file_order() -> None:
    distributions = {"decay": search()["decay"], "more": search()["decay"]}
    grid = sample_arm(distributions, searcher="grid", samples=None, seed=0, name="x")
    assert grid == [
        {"decay": 2, "more": 2},
        {"decay": 2, "more": 3},
        {"decay": 3, "more": 2},
        {"decay": 3, "more": 3},
    ]


def test_no_search_is_one_configuration() -> None:
    assert sample_arm({}, searcher="random", samples=5, seed=0, name="x") == [{}]


def test_best_configurations_rank_by_mean_over_seeds() -> None:
    assert best_configurations({0: [0.1, 0.9], 1: [0.6, 0.6], 2: [0.6, 0.6]}, 2) == [1, 2]
    assert best_configurations({0: [], 1: [0.2]}, 3) == [1]
