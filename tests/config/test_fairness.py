"""Arms are tuned as often and trained as long, or the study says why not; labels are declared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from wsss.config import load_study_text
from wsss.config.stage import STAGES
from wsss.config.study import Study
from wsss.errors import ConfigError
from wsss.stages.kinds.subcategories import Subcategories
from wsss.stages.kinds.training.classifier import Classifier

CLASSIFIER: dict[str, Any] = {"backbone": "efficientnet_lite0", "epochs": 8}


def arm(*, epochs: int | str = 8, **fields: Any) -> dict[str, Any]:
    lr = {"lr": "$lr"} if "search" in fields else {}
    return {"stages": [{"classifier": {**CLASSIFIER, "epochs": epochs, **lr}}, "cams"], **fields}


def study(arms: dict[str, Any], *later: Any, **fields: Any) -> Study:
    sweep = {"name": "cam", "arms": arms, **fields.pop("sweep", {})}
    raw = {"name": "fair", "data": {"dataset": "sample"}, "sweeps": [sweep, *later], **fields}
    return load_study_text(yaml.safe_dump(raw, sort_keys=False), source="fair.yaml", base=Path("/"))


def refused(*args: Any, **fields: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        study(*args, **fields)
    return [f"{problem.message} ({problem.hint})" for problem in caught.value.problems]


LR = {"lr": {"loguniform": [0.001, 0.1]}}


def test_arms_that_try_different_numbers_are_refused_with_the_numbers() -> None:
    (message,) = refused(
        {"baseline": arm(), "mixup": arm(search=LR, samples=4), "fmix": arm(search=LR, samples=4)}
    )
    assert message.startswith(
        "the arms of `cam` try different numbers of configurations: baseline 1, mixup and fmix 4"
    )
    assert "`allow: [unequal_tuning]`" in message


@pytest.mark.parametrize(
    "allow", [["unequal_tuning"], [{"unequal_tuning": "a control"}], {"unequal_tuning": "a control"}]
)
def test_a_study_may_ask_for_unequal_tuning(allow: Any) -> None:
    found = study({"baseline": arm(), "fmix": arm(search=LR, samples=4)}, allow=allow)
    assert list(found.allow) == ["unequal_tuning"]
    again = load_study_text(yaml.safe_dump(found.to_raw()), source="x.yaml", base=Path("/"))
    assert again.allow == found.allow


def test_a_grid_counts_by_its_size() -> None:
    grid = {"lr": {"choice": [0.01, 0.02]}}
    assert study({"a": arm(search=grid), "b": arm(search=LR, samples=2)})
    assert "a 2, b 3" in refused({"a": arm(search=grid), "b": arm(search=LR, samples=3)})[0]


def test_unequal_keep_is_unequal_tuning_where_a_later_sweep_chooses() -> None:
    arms = {"a": arm(), "b": arm(keep=2)}
    exponents = {
        "search": {"e": {"choice": [2, 4]}},
        "stages": [{"pseudo_masks": {"background_exponent": "$e"}}],
    }
    assert "a 1, b 2" in refused(arms, {"name": "masks", **exponents})[0]
    assert "a 1, b 2" in refused(arms, {"name": "masks", "stages": ["pseudo_masks"]})[0]
    assert study(arms, {"name": "seeds", "replicate": "cam", "seeds": [1, 2]}), "nothing is chosen"


@pytest.mark.parametrize(
    ("longer", "named"),
    [
        (arm(epochs=9), "b 9 epochs"),
        (arm(epochs="$e", search={"e": {"choice": [2, 9]}}), "b 9 epochs"),
        (
            {"stages": [{"classifier": {"as": "first", **CLASSIFIER}}, {"classifier": CLASSIFIER}, "cams"]},
            "b 16 epochs",
        ),
    ],
)
def test_networks_that_train_longer_need_a_reason(longer: dict[str, Any], named: str) -> None:
    allow = ["unequal_tuning"]
    if "search" in longer:
        longer["stages"][0]["classifier"].pop("lr", None)
    (message,) = refused({"a": arm(), "b": longer}, allow=allow)
    assert "the networks of the arms of `cam` train differently long: a 8 epochs" in message
    assert named in message
    (reason,) = refused({"a": arm(), "b": longer}, allow=[*allow, "unequal_epochs"])
    assert reason.startswith("`unequal_epochs` needs a reason")
    assert study({"a": arm(), "b": longer}, allow=[*allow, {"unequal_epochs": "it has two rounds"}])


def test_searched_epochs_are_equal_when_their_largest_are() -> None:
    searched = arm(epochs="$e", search={"e": {"choice": [2, 8]}}, samples=1)
    searched["stages"][0]["classifier"].pop("lr")
    assert study({"a": arm(), "b": searched})


@pytest.mark.parametrize(
    ("allow", "message"),
    [
        ("unequal_tuning", "`allow` is 'unequal_tuning', but must be a list"),
        (["unequal_tunning"], "did you mean 'unequal_tuning'?"),
        (["train_on_masks"], "`data: {allow: [train_on_masks]}`"),
        ([{"unequal_tuning": 3}], "the reason of `unequal_tuning` is 3"),
        ([["unequal_tuning"]], "must list names, or `name: reason`"),
    ],
)
def test_what_allow_may_not_say(allow: Any, message: str) -> None:
    assert message in " ".join(refused({"a": arm()}, allow=allow))


def test_a_study_that_a_storage_has_already_is_read_as_it_is(tmp_path: Path) -> None:
    raw = {
        "name": "old",
        "data": {"dataset": "sample"},
        "sweeps": [{"name": "cam", "arms": {"a": arm(), "b": arm(epochs=9)}}],
    }
    assert load_study_text(yaml.safe_dump(raw), source="old.yaml", base=tmp_path, known=True)


# Supervision


@pytest.mark.parametrize(
    "stages",
    [
        [{"import": {"cams": "made/elsewhere"}}],
        [{"classifier": {**CLASSIFIER, "weights": "res38.params", "backbone": "resnet38"}}, "cams"],
    ],
)
def test_what_comes_from_elsewhere_must_be_declared(stages: list[Any]) -> None:
    (message,) = refused({"a": {"stages": stages}})
    assert "what kinds of labels that rests on can't be known" in message
    assert "`supervision: [image]`" in message
    found = study({"a": {"stages": stages, "supervision": ["image", "text", {"masks": 25}]}})
    assert found.sweeps[0].arms[0].supervision == ("image", "text", "masks: 25")
    again = load_study_text(yaml.safe_dump(found.to_raw()), source="x.yaml", base=Path("/"))
    assert again.sweeps == found.sweeps


@pytest.mark.parametrize(
    "entry", ["pixels", 3, {"masks": 0}, {"masks": True}, {"masks": 1, "text": 2}, "unknown"]
)
def test_supervision_has_known_names(entry: Any) -> None:
    (message,) = refused({"a": arm(supervision=[entry])})
    assert message.startswith("`supervision` names ")


# Selecting without masks


@pytest.mark.parametrize(
    "metric", ["classifier/holdout/mAP", "agreement/miou", "cams/select/area", "cams/select/pxap"]
)
def test_other_scores_may_choose(metric: str) -> None:
    stages = [{"classifier": CLASSIFIER}, "cams", "pseudo_masks", "agreement"]
    assert study({"a": {"stages": stages}}, sweep={"metric": metric}).sweeps[0].metric == metric


def test_a_true_score_chooses_unless_another_is_named() -> None:
    stages = [{"classifier": CLASSIFIER}, "cams", "pseudo_masks", "agreement"]
    assert study({"a": {"stages": stages}}).sweeps[0].metric == "pseudo_masks/select/miou"


# The protocol


def test_a_protocol_fills_a_study_in() -> None:
    arms = {name: arm(search=LR) for name in ("baseline", "fmix")}
    found = study(arms, protocol="equal_tuning")
    first, last = found.sweeps
    assert {one.name: one.samples for one in first.arms} == {"baseline": 30, "fmix": 30, "probe": 30}
    assert (last.name, last.replicate, last.seeds) == ("finalists", "cam", (1, 2, 3))
    assert (found.data.select.half, found.data.report.half) == ("a", "b")
    probe = next(one for one in first.arms if one.name == "probe")
    assert probe.stages[0].params["method"] == "probe"
    assert probe.stages[0].params["epochs"] == 8
    again = load_study_text(yaml.safe_dump(found.to_raw()), source="x.yaml", base=Path("/"))
    assert again.to_raw() == found.to_raw(), "filling in again changes nothing"


def test_the_short_form_tries_ten() -> None:
    found = study(
        {"baseline": arm(search=LR), "fmix": arm(search=LR)}, protocol={"name": "equal_tuning", "short": True}
    )
    assert {one.samples for one in found.sweeps[0].arms} == {10}


def test_a_study_that_says_otherwise_than_its_protocol_is_refused() -> None:
    arms = {"baseline": arm(), "fmix": arm(search=LR, samples=12)}
    found = " ".join(refused(arms, protocol="equal_tuning", sweep={"searcher": "grid"}))
    for part in (
        "arm `baseline` has nothing to search",
        "`samples` of arm `fmix` is 12",
        "`searcher` is 'grid'",
    ):
        assert part in found
    assert "`protocol.name` is 'fair'" in " ".join(refused(arms, protocol={"name": "fair"}))
    clusters = {"stages": [{"classifier": {"as": "first", **CLASSIFIER}}, "features", "subcategories",
                           {"classifier": {**CLASSIFIER, "method": "subcategory_exploration", "lr": "$lr"}}, "cams"],
                "search": LR}  # fmt: skip
    found = " ".join(refused({"exploration": clusters}, protocol="equal_tuning"))
    assert "names no control to beat" in found


class OwnClassifier(Classifier):
    """As another package may bring one along."""

    name, may_make = "own_classifier", ("classifier",)

    @classmethod
    def makes(cls, params: Any) -> str:
        return "classifier"


class Groups(Subcategories):
    name, may_make = "groups", ("subcategories",)

    @classmethod
    def makes(cls, params: Any) -> str:
        return "subcategories"


def test_a_classifier_of_another_package_gets_its_probe() -> None:
    """Which stage is a classifier, what leads to it and what its control is, stages say themselves."""
    last = {**CLASSIFIER, "method": "subcategory_exploration", "lr": "$lr"}

    def explored(**groups: str) -> dict[str, Any]:
        first = {"as": "first", **CLASSIFIER}
        stages = [{"own_classifier": first}, "features", {"groups": groups}, {"own_classifier": last}, "cams"]
        return {"stages": stages, "search": LR}

    arms = {"explored": {**explored(), "control": "random"}, "random": explored(control="random")}
    with STAGES.replaced(OwnClassifier, Groups):
        allow = [{"unequal_epochs": "a teacher comes first"}]
        sweep = study(arms, protocol="equal_tuning", allow=allow).sweeps[0]
        wrong = " ".join(refused({"explored": explored()}, protocol="equal_tuning"))
    probe = next(one for one in sweep.arms if one.name == "probe")
    assert [use.stage for use in probe.stages] == ["own_classifier", "cams"]
    assert probe.stages[0].params["method"] == "probe"
    assert "names no control to beat (an arm with `groups: {control: random}`, named by `control`)" in wrong


# Other routes to unequal arms


def chain(*stages: Any, **fields: Any) -> dict[str, Any]:
    return {"stages": [{"classifier": CLASSIFIER}, "cams", *stages], **fields}


def head(updates: int) -> dict[str, Any]:
    return chain("pseudo_masks", {"pixel_head": {"iterations": updates}}, "probabilities")


def test_updates_of_any_network_count() -> None:
    (message,) = refused({"a": head(40), "b": head(4000)})
    assert "a 8 epochs and 40 iterations, b 8 epochs and 4000 iterations" in message


def test_parts_of_a_schedule_add_up_to_it() -> None:
    parts = {
        "stages": [
            {"classifier": {"as": "first", **CLASSIFIER, "span": [0, 3]}},
            {"classifier": {"from": "first", **CLASSIFIER, "span": [3, 8]}},
            "cams",
        ]
    }
    assert study({"a": arm(), "b": parts})


def test_a_program_hides_no_training_beside_it(tmp_path: Path) -> None:
    program = {
        "as": "notes", "makes": "files", "run": ["true", "{out}"], "folder": str(tmp_path), "supervision": ["image"],
    }  # fmt: skip
    longer = {"stages": [{"command": program}, {"classifier": {**CLASSIFIER, "epochs": 100}}, "cams"]}
    (message,) = refused({"a": arm(), "b": longer})
    assert message.startswith("the networks of arm `b` train for 100 epochs beside its program")
    whole = {"stages": [{"command": {**program, "makes": "cams"}}]}
    assert study({"a": arm(), "b": whole}), "how long a program trains, nobody knows"


@pytest.mark.parametrize(("choices", "number"), [([0.01], 1), ([0.01, 0.02], 2)])
def test_a_search_of_few_values_tries_no_more_than_them(choices: list[float], number: int) -> None:
    few = arm(search={"lr": {"choice": choices}}, samples=30)
    (message,) = refused({"a": few, "b": arm(search=LR, samples=30)})
    assert f"a {number}, b 30" in message


def test_arms_are_stopped_by_the_same_rules() -> None:
    stopped = chain("pseudo_masks", stop_below={"cams/select/miou": 0.9})
    (message,) = refused({"a": stopped, "b": chain("pseudo_masks")})
    assert "stopped by different rules: a (cams/select/miou below 0.9), b (none)" in message
    assert study({"a": stopped, "b": stopped})


def test_any_searched_weights_may_come_from_elsewhere() -> None:
    searched = {
        "search": {"w": {"choice": ["package", "clip.pth"]}},
        "stages": [{"classifier": {**CLASSIFIER, "weights": "$w"}}, "cams"],
    }
    (message,) = refused({"a": searched})
    assert "`classifier` starts from the weights of a file" in message


def test_timm_networks_name_their_release_or_are_declared() -> None:
    def teacher(name: str, **fields: Any) -> dict[str, Any]:
        return {"stages": [{"classifier": {**CLASSIFIER, "backbone": name, "weights": "download"}}], **fields}

    plain = "timm/vit_base_patch16_224"
    (message,) = refused({"a": teacher(plain)})
    assert f"`classifier` starts from {plain}, without the release" in message
    assert study({"a": teacher(plain, supervision=["image-21k"])})
    assert study({"a": teacher(f"{plain}.augreg2_in21k_ft_in1k")})


def test_a_stage_of_a_plugin_says_which_labels_it_brings_in(monkeypatch: pytest.MonkeyPatch) -> None:
    from wsss.config.stage import STAGES

    monkeypatch.setattr(STAGES["cams"], "rests_on", None)
    (message,) = refused({"a": arm()})
    assert message.startswith("`cams` is a stage that doesn't say it")
    assert study({"a": arm(supervision=["image", "saliency"])})


@pytest.mark.parametrize(
    ("fields", "later", "message"),
    [
        ({"allow": ["unequal_tuning"]}, [], "`allow` names unequal_tuning, but the protocol is equal_tuning"),
        ({"sweep": {"scheduler": "median"}}, [], "trains every configuration to its end"),
        ({}, [{"name": "last", "replicate": "cam", "seeds": [7]}], "repeats the best with 3"),
    ],
)
def test_what_contradicts_the_protocols_name_is_refused(
    fields: dict[str, Any], later: list[Any], message: str
) -> None:
    arms = {name: arm(search=LR) for name in ("baseline", "fmix")}
    assert message in " ".join(refused(arms, *later, protocol="equal_tuning", **fields))


def test_changing_a_stored_study_is_no_way_around(tmp_path: Path) -> None:
    from wsss.pipeline.past.stored_studies import find_study

    folder = tmp_path / "studies" / "fair"
    folder.mkdir(parents=True)
    found = study({"a": arm(), "b": arm(epochs=9)}, allow=[{"unequal_epochs": "an old one"}])
    (folder / "study.yaml").write_text(yaml.safe_dump(found.to_raw(), sort_keys=False))
    assert find_study("fair", tmp_path, ["budget.hours=3"])
    for change in ("allow=null", "sweeps.cam.b.classifier.epochs=90"):
        allowed = ["allow=null", change]
        with pytest.raises(ConfigError, match="train differently long"):
            find_study("fair", tmp_path, allowed)


def test_a_network_of_a_plugin_says_what_its_weights_have_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from wsss.models.kind import BACKBONES

    monkeypatch.setattr(BACKBONES["efficientnet_lite0"], "rests_on", None)
    (message,) = refused({"a": {"stages": [{"classifier": CLASSIFIER}, "cams"]}})
    assert message.startswith("`classifier` starts from efficientnet_lite0's own weights")
    assert study({"a": arm(supervision=["image", "text"])})
    random = {"stages": [{"classifier": {**CLASSIFIER, "weights": "none"}}, "cams"]}
    assert study({"a": random}), "random weights have seen nothing"
    segmenter = {"segmenter": {"backbone": "mobilenet_v2", "epochs": 2}}
    monkeypatch.setattr(BACKBONES["mobilenet_v2"], "rests_on", None)
    chained = {
        "stages": [{"classifier": {**CLASSIFIER, "weights": "none"}}, "cams", "pseudo_masks", segmenter]
    }
    (message,) = refused({"a": chained})
    assert message.startswith("`segmenter` starts from mobilenet_v2's own weights")


def test_a_stage_of_a_plugin_says_how_long_it_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its parameter is called, and whether it is searched."""
    from wsss.config.stage import STAGES

    def trained(cls: Any, params: Any) -> tuple[int, int]:
        return round(100 * params.background_exponent), 0

    monkeypatch.setattr(STAGES["pseudo_masks"], "trained", classmethod(trained))
    (message,) = refused({"a": chain({"pseudo_masks": {"background_exponent": 1}}),
                          "b": chain({"pseudo_masks": {"background_exponent": 9}})})  # fmt: skip
    assert "a 108 epochs, b 908 epochs" in message
    searched = {"search": {"e": {"choice": [1, 9]}}, "samples": 1}
    (message,) = refused({"a": chain({"pseudo_masks": {"background_exponent": 1}}),
                          "b": chain({"pseudo_masks": {"background_exponent": "$e"}}, **searched)})  # fmt: skip
    assert "a 108 epochs, b 908 epochs" in message


@pytest.mark.parametrize("rung", [{"images": 500}, {"every": 4}])
def test_a_scheduler_judges_all_arms_by_as_many_masks_and_as_often(rung: dict[str, int]) -> None:
    fields: dict[str, Any] = {"search": LR, "samples": 4}
    other = arm(**fields)
    other["stages"][0]["classifier"]["rung"] = rung
    arms = {"a": arm(**fields), "b": other}
    (message,) = refused(arms, sweep={"scheduler": {"kind": "asha", "grace": 2}})
    assert "stopped by different rules: a (asha by 48 images every 1 epochs), b" in message
    assert study(arms), "nobody is stopped without a scheduler"


def test_every_arm_of_a_population_is_as_large_and_may_change_the_same() -> None:
    population = {"scheduler": {"kind": "pbt", "interval": 2, "mutate": {"lr": {"loguniform": [0.001, 0.1]}}}}
    arms = {"a": arm(search=LR, samples=4), "b": arm(search=LR, samples=8)}
    assert "a 4, b 8" in refused(arms, sweep=population)[0]
    assert "a 4, b 1" in " ".join(refused({"a": arm(search=LR, samples=4), "b": arm()}, sweep=population))
    other = arm(search={"wd": {"loguniform": [1e-4, 1e-3]}}, samples=4)
    other["stages"][0]["classifier"] = {**CLASSIFIER, "weight_decay": "$wd"}
    found = " ".join(refused({"a": arms["a"], "b": other}, sweep=population))
    assert "`mutate` names 'lr', which arm `b` doesn't search" in found
    assert study({"a": arms["a"], "b": arm(search=LR, samples=4)}, sweep=population)


def test_a_teacher_counts_with_its_epochs_and_its_weights() -> None:
    def teaching(**teacher: Any) -> dict[str, Any]:
        first = {"as": "teacher", **CLASSIFIER, **teacher}
        pupil = {**CLASSIFIER, "method": "subcategory_teaching"}
        return {"stages": [{"classifier": first}, "features", "subcategories", {"classifier": pupil}, "cams"]}

    (message,) = refused({"a": arm(), "b": teaching()})
    assert "a 8 epochs, b 16 epochs" in message
    reason = {"allow": [{"unequal_epochs": "a teacher is part of the method"}]}
    assert study({"a": arm(), "b": teaching()}, **reason)
    (message,) = refused({"a": arm(), "b": teaching(backbone="timm/vit_base_patch16_224")}, **reason)
    assert message.startswith("`teacher` starts from timm/vit_base_patch16_224, without the release")
