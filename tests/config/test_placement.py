"""Where trials run: shares of GPUs, and one address for all sweeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsss.config import Resources, Study, load_study, load_study_text
from wsss.errors import ConfigError

ROOT = Path(__file__).parents[2]


def voc(*overrides: str) -> Study:
    return load_study(ROOT / "tune_configs/voc.yaml", overrides)


def held(study: Study) -> dict[str, tuple[int, float]]:
    return {sweep.name: (sweep.resources.cpu, sweep.resources.gpu) for sweep in study.sweeps}


@pytest.mark.parametrize("gpu", [0, 1, 2, 8, 0.5, 0.333, 0.3333, 0.33, 1 / 3, 0.25, 0.2, 0.1])
def test_whole_gpus_and_one_nth_are_taken(gpu: float) -> None:
    assert Resources(gpu=gpu).gpu == gpu


@pytest.mark.parametrize(
    ("gpu", "nearest"),
    [("0.3", "0.333"), ("0.4", "0.333"), ("0.45", "0.5"), ("0.6", "0.5"), ("0.9", "1"), ("0.334", "0.333"), ("0.27", "0.25"), ("1.5", "2"), ("2.2", "2")],
)  # fmt: skip
def test_other_shares_are_refused_with_the_nearest(gpu: str, nearest: str) -> None:
    with pytest.raises(ConfigError) as caught:
        voc(f"sweeps.cam.resources.gpu={gpu}")
    (problem,) = caught.value.problems
    assert str(problem).startswith(
        f"-s sweeps.cam.resources.gpu={gpu}: `gpu` is {gpu}, but must be a whole number"
    )
    assert str(problem).endswith(f"the nearest is {nearest}")


@pytest.mark.parametrize("gpu", ["-1", ".nan", ".inf", "half"])
def test_what_is_no_share_at_all_is_refused(gpu: str) -> None:
    with pytest.raises(ConfigError, match="gpu"):
        voc(f"sweeps.cam.resources.gpu={gpu}")


def test_the_gpu_of_all_sweeps_changes_those_that_hold_one() -> None:
    """What the head of voc.yaml promises: CPU work holds no GPU because the others get less of it."""
    assert held(voc("sweeps.*.resources.gpu=0.5")) == {
        "cam": (8, 0.5), "masks": (8, 0), "labels": (8, 0), "walk": (8, 0.5), "seeds": (8, 0.5),
    }  # fmt: skip
    assert {gpu for _, gpu in held(voc("sweeps.*.resources.gpu=0")).values()} == {0}
    assert {cpu for cpu, _ in held(voc("sweeps.*.resources.cpu=2")).values()} == {2}


def test_where_no_sweep_holds_a_gpu_all_get_one(tiny_study_text: str) -> None:
    words = ("sweeps.*.resources.gpu=1",)
    study = load_study_text(tiny_study_text, source="tiny.yaml", base=Path("/"), overrides=words)
    assert [sweep.resources.gpu for sweep in study.sweeps] == [1, 1]


def test_a_stage_of_all_sweeps_is_found_where_it_is() -> None:
    study = voc("sweeps.*.*.cams.flip=false", "sweeps.*.*.affinity.epochs=3", "sweeps.*.keep=3")
    cam, masks, _, walk, again = study.sweeps
    assert all(arm.stages[1].params["flip"] is False for arm in cam.arms)
    assert walk.arms[0].stages[0].params["epochs"] == 3
    assert cam.keep == masks.keep == walk.keep == 3 and again.replicate == "walk"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sweeps.*.*.clasifier.epochs=1", "no stage is named 'clasifier' there (did you mean 'classifier'?)"),
        ("sweeps.*=1", "no sweep is named '*'"),
        (
            "sweeps.*.resources.gpus=1",
            "-s sweeps.*.resources.gpus=1: unknown key `gpus` (did you mean 'gpu'?)",
        ),
    ],
)
def test_an_address_that_leads_nowhere_in_any_sweep_is_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        voc(override)
    assert message in str(caught.value)
