"""Study files: what they mean, and what is said when they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from good_study import GOOD

from wsss.config import (
    Study,
    dump_study,
    load_study,
    load_study_text,
    resolve_stage,
    smoke,
)
from wsss.config.params.stages import ClassifierParams
from wsss.errors import ConfigError


def load(text: str, *overrides: str) -> Study:
    return load_study_text(text, source="study.yaml", base=Path("/base"), overrides=overrides)


def refused(text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(text, *overrides)
    return [str(problem) for problem in caught.value.problems]


def test_a_study_is_read_with_its_defaults() -> None:
    study = load(GOOD)
    cam, masks, again = study.sweeps
    assert [arm.name for arm in cam.arms] == ["baseline", "fmix"]
    assert cam.metric == "cams/select/miou" and masks.metric == "pseudo_masks/select/miou"
    assert masks.arms[0].name == "masks" and again.replicate == "masks" and again.seeds == (1, 2)
    assert study.storage == Path("runs").resolve() and study.seed == 3


def test_dumping_and_loading_give_the_same_study() -> None:
    study = load(GOOD)
    assert load(dump_study(study)) == study
    small = smoke(study)
    assert load(dump_study(small)) == small


def test_relative_roots_refer_to_the_file(tmp_path: Path) -> None:
    study = load(GOOD.replace("dataset: sample", "dataset: voc, root: ../voc"))
    assert study.data.root == Path("/voc")


def test_several_errors_are_told_together_with_line_and_nearest_name() -> None:
    text = (
        GOOD.replace("epochs: 2", "epoch: 2")
        .replace("keep: 1", "kep: 1")
        .replace("method: fmix", "method: fmx")
        .replace("seed: 3", "seed: three")
    )
    assert refused(text) == [
        "study.yaml:8: unknown key `epoch` (did you mean 'epochs'?)",
        "study.yaml:4: unknown key `kep` in a sweep (did you mean 'keep'?)",
        "study.yaml:13: `method`: there is no method 'fmx' (did you mean 'fmix'?)",
        "study.yaml:3: `seed` is 'three', but must be a whole number from 0 to 4294967295",
    ] or sorted(refused(text)) == sorted(
        [
            "study.yaml:8: unknown key `epoch` (did you mean 'epochs'?)",
            "study.yaml:15: unknown key `kep` in a sweep (did you mean 'keep'?)",
            "study.yaml:13: `method`: there is no method 'fmx' (did you mean 'fmix'?)",
            "study.yaml:3: `seed` is 'three', but must be a whole number from 0 to 4294967295",
        ]
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epochs: 2", "epochs: many", "study.yaml:8: `epochs` is 'many', but must be a valid integer"),
        ("epochs: 2", "epochs: 0", "study.yaml:8: `epochs` is 0, but must be greater than 0"),
        ("mixing: {alpha: $alpha", "mixing: {alfa: 1, alpha: $alpha", "study.yaml:13: unknown key `alfa` (did you mean 'alpha'?)"),
        ("alpha: $alpha", "alpha: $alpa", "study.yaml:13: the variable `$alpa` of `classifier` is not in `search` (did you mean 'alpha'?)"),
        ("decay: $decay", "max_soft: 0.1", "study.yaml:10: the search variable `decay` is never used"),
        ("choice: [2, 3]", "choice: [2, -3]", "study.yaml:10: `mixing.decay` is -3, but must be greater than 0"),
        ("choice: [2, 3]", "choise: [2, 3]", "kind 'choise' (did you mean 'choice'?)"),
        ("[0.2, 2]", "[2, 0.2]", "`loguniform` is [2, 0.2], but must be [low, high] with low < high"),
        ("        samples: 2\n", "", "an arm without `samples` can't go through every value of `alpha`"),
        ("    keep: 1", "    searcher: grid", "the grid searcher can't go through every value of `alpha`"),
        ("    keep: 1", "    searcher: optna", "`searcher` is 'optna' (did you mean 'optuna'?)"),
        ("stages: [classifier: {method: cam, epochs: 2}, cams: {scales: [1.0]}]", "stages: [cams: {scales: [1.0]}]", "`cams` needs `classifier`, which no earlier stage makes (put `classifier` before it)"),
        ("stages: [pseudo_masks]", "stages: [pseudo_mask]", "there is no stage 'pseudo_mask' (did you mean 'pseudo_masks'?)"),
        ("stages: [pseudo_masks]", "stages: [pseudo_masks: {from: cam}]", "`from` is 'cam', but no earlier stage is named so"),
        ("half: b", "half: a", "`report` (half a of train) shares images with `select` (half a of train)"),
        ("report: {split: train, half: b}", "report: {split: train}", "`report` (train) shares images with"),
        ("half: b", "half: c", "`report.half` is 'c', but must be 'a' or 'b'"),
        ("replicate: masks", "replicate: mask", "no earlier sweep is named 'mask' (did you mean 'masks'?)"),
        ("    seeds: [1, 2]", "", "a replicating sweep needs `seeds`"),
        ("seeds: [1, 2]", "seeds: [1, 1]", "must be a list of different whole numbers"),
        ("keep: 1", "metric: cams/report/miou", "which is for reporting (a search may only look at `select`)"),
        ("keep: 1", "metric: cams/select/mIoU", "`metric` is 'cams/select/mIoU' (did you mean 'cams/select/miou'?)"),
        ("keep: 1", "resources: {gpu: -1}", "`gpu` is -1, but must be greater than or equal to 0"),
        ("keep: 1", "resources: {gpus: 1}", "unknown key `gpus` (did you mean 'gpu'?)"),
        ("keep: 1", "schedulr: asha", "unknown key `schedulr` in a sweep (did you mean 'scheduler'?)"),
        ("dataset: sample", "dataset: sampel", "`dataset` is 'sampel', but must be 'coco', 'folder', 'sample' or 'voc' (did you mean 'sample'?)"),
        ("name: good", "name: ../evil", "the name of the study is '../evil', but must be letters"),
        ("name: masks", "name: cam", "two sweeps are named 'cam'"),
        ("seed: 3", "seed: 3\nseed: 4", "the key 'seed' stands here a second time (first: line 3)"),
        ("sweeps:", "sweps:", "unknown key `sweps` in the study (did you mean 'sweeps'?)"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_once_and_clearly(old: str, new: str, message: str) -> None:
    assert old in GOOD
    problems = refused(GOOD.replace(old, new))
    assert sum(message in problem for problem in problems) == 1, problems


def test_a_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").write_text(GOOD)
    with pytest.raises(ConfigError, match=r"no such study file \(did you mean '.*quickstart.yaml'\?\)"):
        load_study(tmp_path / "quikstart.yaml")


def test_overrides_address_by_name() -> None:
    study = load(
        GOOD,
        "sweeps.cam.fmix.classifier.mixing.max_soft=0.2",
        "sweeps.cam.*.classifier.epochs=7",
        "sweeps.cam.fmix.cams.scales=[0.5, 1]",
        "sweeps.cam.keep=2",
        "sweeps.cam.resources.cpu=2",
        "sweeps.masks.pseudo_masks.crf.iterations=3",
        "seed=9",
        "data.holdout=2e-1",
    )
    cam, masks, _ = study.sweeps
    classifiers = [resolve_stage(arm.stages[0], {"alpha": 1.0, "decay": 3}) for arm in cam.arms]
    assert [c.epochs for c in classifiers if isinstance(c, ClassifierParams)] == [7, 7]
    assert cam.arms[1].stages[0].params["mixing"]["max_soft"] == 0.2
    assert cam.arms[1].stages[1].params == {"scales": [0.5, 1]}
    assert cam.keep == 2 and cam.resources.cpu == 2
    assert masks.arms[0].stages[0].params == {"crf": {"iterations": 3}}
    assert study.seed == 9 and study.data.holdout == 0.2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sweeps.can.keep=1", "-s sweeps.can.keep=1: no sweep is named 'can' (did you mean 'cam'?)"),
        ("sweeps.cam.fmx.classifier.epochs=1", "no arm is named 'fmx' (did you mean 'fmix'?)"),
        ("sweeps.cam.fmix.clasifier.epochs=1", "no stage is named 'clasifier' there (did you mean 'classifier'?)"),
        ("sweeps.cam.fmix.classifier.epocs=1", "-s sweeps.cam.fmix.classifier.epocs=1: unknown key `epocs`"),
        ("sweeps.cam.fmix.classifier.epochs=x", "-s sweeps.cam.fmix.classifier.epochs=x: `epochs` is 'x'"),
        ("seed", "-s seed: must read KEY=VALUE"),
        ("sed=1", "-s sed=1: unknown key `sed` in the study (did you mean 'seed'?)"),
    ],
)  # fmt: skip
def test_overrides_that_lead_nowhere_are_named(override: str, message: str) -> None:
    assert any(problem.startswith(message) or message in problem for problem in refused(GOOD, override))


def test_two_spellings_of_one_thing_are_one_thing() -> None:
    short = load(GOOD).sweeps[0].arms[1].stages[0]
    values = {"alpha": 0.5, "decay": 3}
    long = load(
        GOOD.replace(
            "{method: fmix, mixing: {alpha: $alpha, decay: $decay}}",
            "{mixing: {kind: fmix, alpha: $alpha, decay: $decay}, entropy: {weight: 2e-2},"
            " concentration: {weight: 0.27}}",
        )
    )
    assert resolve_stage(short, values) == resolve_stage(long.sweeps[0].arms[1].stages[0], values)


def test_presets_have_the_published_strengths() -> None:
    def classifier(text: str) -> ClassifierParams:
        stage = load(GOOD.replace("{method: cam, epochs: 2}", text)).sweeps[0].arms[0].stages[0]
        params = resolve_stage(stage, {})
        assert isinstance(params, ClassifierParams)
        return params

    plain, mixup, fmix = (classifier(f"{{method: {name}}}") for name in ("cam", "mixup", "fmix"))
    assert plain.mixing.kind == "none" and plain.entropy.weight == 0 and plain.concentration.weight == 0
    assert (mixup.mixing.kind, mixup.mixing.alpha) == ("mixup", 0.2)
    assert (fmix.mixing.kind, fmix.mixing.alpha, fmix.mixing.decay) == ("fmix", 1.0, 3.0)
    assert mixup.entropy.weight == 0.02 and mixup.entropy.kind == "bernoulli"
    assert mixup.concentration.weight == 0.27 and mixup.concentration.coordinates == "unit"
    assert classifier("{method: mixup, entropy: {weight: 0}}").concentration.weight == 0.27
    assert classifier("{method: probe}").freeze == "all"
    assert [p.method_name for p in (plain, mixup, fmix)] == ["cam", "mixup", "fmix"]


def test_smoke_keeps_every_arm_and_makes_each_small() -> None:
    small = smoke(load(GOOD))
    assert small.name == "good-smoke" and small.data.limit == 16
    assert [arm.name for arm in small.sweeps[0].arms] == ["baseline", "fmix"]
    assert small.sweeps[0].arms[1].samples == 1 and small.sweeps[2].seeds == (1,)
    params = resolve_stage(small.sweeps[0].arms[0].stages[0], {})
    assert isinstance(params, ClassifierParams)
    assert params.epochs == 1 and params.backbone == "efficientnet_lite0"


MASKS = GOOD.replace("{method: cam, epochs: 2}", "{supervision: masks}")


def test_training_on_masks_must_be_asked_for() -> None:
    (problem,) = refused(MASKS)
    assert problem.startswith("study.yaml:8: ")
    assert "arm `baseline` trains on pixel masks" in problem
    assert "data.allow: [train_on_masks]" in problem
    assert load(MASKS, "data.allow=[train_on_masks]").data.allow == ("train_on_masks",)
    assert "did you mean" in refused(MASKS, "data.allow=[train_on_mask]")[0]


def test_training_on_masks_is_found_behind_a_variable_too() -> None:
    text = GOOD.replace(
        "        stages: [classifier: {method: cam, epochs: 2}",
        "        search: {how: {choice: [labels, masks]}}\n        stages: [classifier: {supervision: $how}",
    )
    assert any("arm `baseline` trains on pixel masks" in problem for problem in refused(text))


def test_choosing_on_what_is_reported_must_be_asked_for() -> None:
    same = GOOD.replace("report: {split: train, half: b}", "report: {split: train}")
    assert "`report` (train) shares images with `select`" in refused(same)[0]
    assert load(same, "data.allow=[select_on_report]").data.report.half is None


def test_masks_are_a_control_on_their_own() -> None:
    problems = refused(
        MASKS.replace("supervision: masks", "supervision: masks, method: mixup"),
        "data.allow=[train_on_masks]",
    )
    assert "`supervision: masks` is a control on its own, but `mixing.kind` is set too" in problems[0]


def test_a_control_is_another_arm() -> None:
    text = GOOD.replace("        samples: 2\n", "        samples: 2\n        control: baselin\n")
    (problem,) = refused(text)
    assert "the control of arm `fmix` is 'baselin'" in problem
    assert "baseline" in problem.replace("'baselin'", "")
    study = load(text.replace("baselin\n", "baseline\n"))
    assert study.sweeps[0].arms[1].control == "baseline"
    assert load(dump_study(study)) == study


def test_maps_of_sub_categories_need_some() -> None:
    text = GOOD.replace("        stages: [classifier: {method: cam, epochs: 2}, cams: {scales: [1.0]}]",
                        "        stages: [classifier, cams: {head: subcategories}]")  # fmt: skip
    assert "`cams` needs `subcategories`, which no earlier stage makes" in refused(text)[0]


WHOLE = """\
name: whole
data: {dataset: sample, test: {split: val}}
sweeps:
  - name: segment
    stages: [segmenter: {supervision: masks}, segmentations: {flip: true}]
"""


def test_true_masks_teach_a_segmenter_only_where_that_is_allowed() -> None:
    (problem,) = refused(WHOLE)
    assert "trains on pixel masks" in problem and "data.allow: [train_on_masks]" in problem
    allowed = load(WHOLE, "data.allow=[train_on_masks]")
    assert allowed.sweeps[0].metric == "segmentations/select/miou"
    (problem,) = refused(WHOLE.replace("supervision: masks", "epochs: 1"))
    assert "`segmenter` needs `pseudo_masks`" in problem


def test_segmentations_need_test_images_and_are_not_chosen_by_them() -> None:
    text = WHOLE.replace("}}\n", "}, allow: [train_on_masks]}\n", 1)
    (problem,) = refused(text.replace("test: {split: val}, ", ""))
    assert "`data.test`, which is missing" in problem and "whole" not in problem
    (problem,) = refused(text + "    metric: segmentations/test/miou\n")
    assert "only look at `select`" in problem


@pytest.mark.parametrize(
    ("resources", "processes"),
    [
        ("{}", 1),
        ("{gpu: 0.5}", 1),
        ("{gpu: 2, cpu: 4}", 2),
        ("{cpu: 3, workers: 3}", 3),
        ("{gpu: 2, workers: 1}", 1),
    ],
)
def test_a_network_is_trained_by_one_process_a_gpu_unless_said(resources: str, processes: int) -> None:
    study = load(GOOD, f"sweeps.cam.resources={resources}")
    assert study.sweeps[0].resources.processes == processes


@pytest.mark.parametrize("resources", ["{cpu: 1, workers: 2}", "{gpu: 1, cpu: 4, workers: 2}"])
def test_more_workers_than_devices_are_refused(resources: str) -> None:
    (problem,) = refused(GOOD, f"sweeps.cam.resources={resources}")
    assert "`workers` is 2, but must be at most 1" in problem
