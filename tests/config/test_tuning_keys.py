"""`searcher`, `scheduler` and `stop_below`: what they mean, and what is said when they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsss.config import StopRule, Study, dump_study, load_study, load_study_text, smoke
from wsss.config.tuning import Asha, Fifo, Hyperband, Median, OptunaSearch, Pbt, RandomSearch
from wsss.errors import ConfigError

ROOT = Path(__file__).parents[2]
TEXT = """\
name: tuned
data: {dataset: sample, select: {split: train, half: a}, report: {split: train, half: b}}
sweeps:
  - name: cam
    searcher: {kind: optuna, startup: 5}
    scheduler: {kind: asha, grace: 3, reduction: 4}
    stop_below: {cams/select/miou: median}
    arms:
      baseline:
        stages: [classifier: {epochs: 9}, cams, pseudo_masks]
      mixup:
        search: {alpha: {loguniform: [0.1, 2]}}
        samples: 6
        stop_below: {cams/select/miou: 0.2, pseudo_masks/select/miou: {median: 5}}
        stages:
          - classifier: {method: mixup, epochs: 9, mixing: {alpha: $alpha}}
          - cams
          - pseudo_masks
          - affinity_labels
allow: [unequal_tuning]
"""


def load(text: str, *overrides: str) -> Study:
    return load_study_text(text, source="study.yaml", base=Path("/base"), overrides=overrides)


def changed(old: str, new: str) -> str:
    assert TEXT.count(old) == 1, old
    return TEXT.replace(old, new)


def test_they_are_read() -> None:
    sweep = load(TEXT).sweeps[0]
    assert sweep.searcher == OptunaSearch(startup=5)
    assert sweep.scheduler == Asha(grace=3, reduction=4)
    assert sweep.stop_below == (StopRule("cams/select/miou", None, 3),)
    assert sweep.arms[0].stop_below is None
    assert sweep.arms[1].stop_below == (
        StopRule("cams/select/miou", 0.2), StopRule("pseudo_masks/select/miou", None, 5),
    )  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), [
    ("asha", Asha()), ("fifo", Fifo()), ("{kind: median, min_trials: 5}", Median(min_trials=5)),
    ("{kind: hyperband, brackets: 2}", Hyperband(brackets=2)),
])  # fmt: skip
def test_a_name_alone_or_with_arguments(text: str, expected: object) -> None:
    assert load(changed("{kind: asha, grace: 3, reduction: 4}", text)).sweeps[0].scheduler == expected


def test_nothing_said_is_random_and_fifo_and_no_rule() -> None:
    text = TEXT.replace("    searcher: {kind: optuna, startup: 5}\n", "").replace(
        "    scheduler: {kind: asha, grace: 3, reduction: 4}\n", ""
    )
    sweep = load(text.replace("    stop_below: {cams/select/miou: median}\n", "")).sweeps[0]
    assert (sweep.searcher, sweep.scheduler, sweep.stop_below) == (RandomSearch(), Fifo(), ())


def test_a_written_study_reads_back_the_same() -> None:
    study = load(TEXT)
    assert load(dump_study(study)) == study
    small = smoke(study)
    assert load(dump_study(small)) == small
    assert small.sweeps[0].scheduler == Asha(grace=1, reduction=4)
    assert small.sweeps[0].stop_below == () and small.sweeps[0].arms[1].stop_below is None


def test_a_bare_rule_looks_at_the_first_scored_stage() -> None:
    for text, rule in (
        ("0.3", StopRule("cams/select/miou", 0.3)),
        ("{median: 4}", StopRule("cams/select/miou", None, 4)),
    ):
        assert load(changed("{cams/select/miou: median}", text)).sweeps[0].stop_below == (rule,)


def test_the_command_line_reaches_them() -> None:
    study = load(TEXT, "sweeps.cam.scheduler.grace=2", "sweeps.cam.searcher.startup=7")
    assert study.sweeps[0].scheduler == Asha(grace=2, reduction=4)
    assert study.sweeps[0].searcher == OptunaSearch(startup=7)


@pytest.mark.parametrize(("old", "new", "message"), [
    ("grace: 3", "grase: 3", "study.yaml:6: unknown key `grase` (did you mean 'grace'?)"),
    ("reduction: 4", "reduction_factor: 4", "study.yaml:6: unknown key `reduction_factor` (did you mean 'reduction'?)"),
    ("reduction: 4", "reduction: 1", "study.yaml:6: `reduction` is 1, but must be greater than or equal to 2"),
    ("kind: asha", "kind: ahsa", "study.yaml:6: `scheduler` is 'ahsa' (did you mean 'asha'?)"),
    ("{kind: asha, grace: 3, reduction: 4}", "{grace: 3}", "`scheduler` is {'grace': 3}, but must be a name or `{kind: name, …}`"),
    ("startup: 5", "start_up: 5", "study.yaml:5: unknown key `start_up` (did you mean 'startup'?)"),
    ("kind: optuna", "kind: bayes", "study.yaml:5: `searcher` is 'bayes' (choose from random, grid, optuna)"),
    ("        samples: 6\n", "", "study.yaml:5: optuna needs to know how many `samples` arm `mixup` gets"),
    ("grace: 3", "grace: 10", "`grace` is 10, but the classifier of arm `mixup` has 9 epochs"),
    ("search: {alpha: {loguniform: [0.1, 2]}}", "search: {alpha: {loguniform: [0.1, 2]}, e: {choice: [3, 9]}}", "study.yaml:12: `asha` can't judge trials of different lengths, but `epochs` is searched"),
    ("method: mixup, epochs: 9", "method: mixup, rung: {images: 0}, epochs: 9", "study.yaml:16: `asha` judges by rung scores, but arm `mixup` has `rung.images` 0"),
    ("method: mixup, epochs: 9", "method: probe, epochs: 9", "`asha` judges by rung scores, but arm `mixup` has `rung.images` 0"),
    ("    arms:", "    seeds: [1, 2]\n    arms:", "`asha` would judge the seeds of a configuration against each other"),
    ("{cams/select/miou: median}", "{cam/select/miou: median}", "study.yaml:7: `stop_below` looks at 'cam/select/miou' (did you mean 'cams/select/miou'?)"),
    ("{cams/select/miou: median}", "{cams/report/miou: 0.3}", "study.yaml:7: `stop_below` looks at 'cams/report/miou', which is for reporting"),
    ("{cams/select/miou: median}", "{cams/select/miou: 30}", "study.yaml:7: `cams/select/miou` is 30, but must be a number in [0, 1]"),
    ("{cams/select/miou: median}", "{cams/select/miou: {median: 0}}", "but must be a number in [0, 1], `median`"),
    ("          - affinity_labels\n", "", "'pseudo_masks/select/miou', but no stage comes after `pseudo_masks`"),
])  # fmt: skip
def test_what_is_wrong_is_said(old: str, new: str, message: str) -> None:
    text = changed(old, new)
    if "e: {choice" in new:
        text = text.replace("method: mixup, epochs: 9", "method: mixup, epochs: $e")
    with pytest.raises(ConfigError) as caught:
        load(text)
    problems = [str(problem) for problem in caught.value.problems]
    assert any(message in problem for problem in problems), problems


def test_a_scheduler_needs_a_classifier_to_judge() -> None:
    later = "  - name: later\n    scheduler: asha\n    stages: [pseudo_masks: {as: again}]\n"
    text = TEXT.replace("allow:", f"{later}allow:")
    with pytest.raises(
        ConfigError, match="`asha` judges classifier epochs, but arm `later` has no classifier"
    ):
        load(text)


@pytest.mark.parametrize("name", ["search", "voc"])
def test_the_large_studies_stop_bad_trials_early(name: str) -> None:
    study = load_study(ROOT / "tune_configs" / f"{name}.yaml")
    assert isinstance(study.sweeps[0].scheduler, Asha)
    assert load(dump_study(smoke(study))) == smoke(study)


PBT = """\
name: evolved
data: {dataset: sample, select: {split: train, half: a}, report: {split: train, half: b}}
sweeps:
  - name: cam
    scheduler: {kind: pbt, interval: 3, mutate: {lr: {loguniform: [0.001, 0.1]}, entropy: {uniform: [0, 0.1]}}}
    search: {lr: {loguniform: [0.001, 0.1]}, entropy: {choice: [0.0, 0.02]}, alpha: {choice: [0.2, 1.0]}}
    samples: 8
    stages:
      - classifier: {method: mixup, epochs: 9, lr: $lr, entropy: {weight: $entropy}, mixing: {alpha: $alpha}}
      - cams
"""


def test_population_based_training_is_read_written_and_made_small() -> None:
    study = load(PBT)
    scheduler = study.sweeps[0].scheduler
    assert isinstance(scheduler, Pbt) and scheduler.interval == 3
    assert scheduler.distribution("lr").values == (0.001, 0.1)
    assert load(dump_study(study)) == study
    assert load(dump_study(smoke(study))) == smoke(study)


@pytest.mark.parametrize(("old", "new", "message"), [
    ("interval: 3, ", "", "study.yaml:5: `interval` is missing"),
    ("interval: 3", "interval: 10", "`interval` is 10, but the classifier of arm `cam` has 9 epochs"),
    ("interval: 3", "intervall: 3", "study.yaml:5: unknown key `intervall` (did you mean 'interval'?)"),
    ("mutate: {lr:", "mutate: {lrr:", "study.yaml:5: `mutate` names 'lrr', which arm `cam` doesn't search (did you mean 'lr'?)"),
    ("{uniform: [0, 0.1]}", "{unifrm: [0, 0.1]}", "`mutate.entropy` has the unknown kind 'unifrm' (did you mean 'uniform'?)"),
    ("entropy: {uniform: [0, 0.1]}", "alpha: {uniform: [0.1, 2]}", "`mutate` names 'alpha', but `mixing.alpha` can't change while a classifier trains"),
    ("    samples: 8", "    samples: 8\n    searcher: optuna", "optuna asks for one trial at a time"),
    ("    samples: 8", "    samples: 8\n    seeds: [1, 2]", "`pbt` would judge the seeds of a configuration against each other"),
])  # fmt: skip
def test_what_is_wrong_with_a_population_is_said(old: str, new: str, message: str) -> None:
    assert PBT.count(old) == 1
    with pytest.raises(ConfigError) as caught:
        load(PBT.replace(old, new))
    problems = [str(problem) for problem in caught.value.problems]
    assert any(message in problem for problem in problems), problems


def test_a_population_begins_at_the_beginning() -> None:
    with pytest.raises(ConfigError, match="`pbt` belongs into the first sweep"):
        load(PBT + PBT[PBT.index("  - name: cam") :].replace("name: cam", "name: later"))


def test_a_search_variable_with_wrong_values_is_one_problem() -> None:
    text = TEXT.replace("{loguniform: [0.1, 2]}", "[0.1, 2]")
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert "`alpha` must be one of {choice" in str(caught.value)
    assert "is not in `search`" not in str(caught.value) and "has no `search`" not in str(caught.value)
