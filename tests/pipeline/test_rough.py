"""What a plan says before anything like it was run: scaled from what is there, and called rough."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from command_line import in_process

from wsss.config import load_study, load_study_text
from wsss.config.params.pixel_head import PixelHeadParams
from wsss.config.params.stages import ClassifierParams
from wsss.config.stage import STAGES
from wsss.data.view import open_data
from wsss.pipeline.chains.facts import backbone_of
from wsss.pipeline.forecasts.effort import Measured, Work, estimate_bytes, estimate_seconds
from wsss.pipeline.forecasts.rough import PACKAGED, packaged, rough_bytes, rough_seconds
from wsss.pipeline.search.trials import sweep_trials

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "tune_configs/quickstart.yaml"


def classifier(
    backbone: str, images: int, *, crop: int = 64, epochs: int = 1, device: str = "cpu", **more: Any
) -> Work:
    params = {"backbone": backbone, "weights": "none", "crop": crop, "epochs": epochs, **more}
    content = ClassifierParams.model_validate(params).model_dump(mode="json")
    return Work("classifier", content, {"images": images, "pixels": 100.0, "backbone": backbone}, device, 1)


SMOKE = Measured(classifier("efficientnet_lite0", 16), seconds=8.0, bytes=1000)


def test_a_smoke_run_is_scaled_by_images_epochs_pixels_and_backbone() -> None:
    work = classifier("resnet50", 160, crop=128, epochs=6)
    assert estimate_seconds(work, [SMOKE]) is None, "nothing alike was measured"
    seconds = packaged()[1]
    found = rough_seconds(work, [SMOKE])
    assert found is not None and found.devices == ("cpu",)
    ratio = seconds["resnet50"] / seconds["efficientnet_lite0"]
    assert found.value == pytest.approx(8.0 * (160 / 16) * 6 * (128 / 64) ** 2 * ratio)
    assert 2 < ratio < 20


def test_of_one_network_the_artefact_nearest_in_size_tells() -> None:
    """A tiny image's time is mostly that of what starts: it says little of a large one, however many."""
    tiny = Measured(classifier("resnet50", 900, crop=64, epochs=50), seconds=9000.0, bytes=10)
    near = Measured(classifier("resnet50", 10, crop=192), seconds=40.0, bytes=20)
    found = rough_seconds(classifier("resnet50", 20, crop=160, freeze="all"), [tiny, near])
    assert found is not None and found.value == pytest.approx(40.0 * 2 * (160 / 192) ** 2)


def test_an_artefact_made_within_moments_is_not_multiplied() -> None:
    """What starts a smoke run's stage is most of its time: `plan` said 105 hours after one, and it took 3."""
    moments = Measured(classifier("efficientnet_lite0", 16, freeze="all"), seconds=2.7, bytes=1000)
    work = classifier("efficientnet_lite0", 400, crop=128, epochs=4, freeze="all")
    assert estimate_seconds(work, [moments]) is None
    found = rough_seconds(work, [moments])
    assert found is not None and found.devices == (PACKAGED,) and found.value < 60
    again = estimate_seconds(classifier("efficientnet_lite0", 20, freeze="all"), [moments])
    assert again is not None and again.value == pytest.approx(2.7 * 20 / 16), "as little work is told"


@pytest.mark.parametrize("seconds", [2.7, 12.0])
@pytest.mark.parametrize("crop", [128, 321])
def test_what_starts_a_gpu_is_not_multiplied(seconds: float, crop: int) -> None:
    """A smoke run on a GPU is CUDA and processes that start. Multiplied, ten seconds are days."""
    moments = Measured(classifier("efficientnet_lite0", 16, device="NVIDIA A100"), seconds, 1000)
    work = classifier("efficientnet_lite0", 10_000, crop=crop, epochs=10, device="A100")
    assert estimate_seconds(work, [moments]) is None and rough_seconds(work, [moments]) is None
    as_small = classifier("efficientnet_lite0", 20, device="A100")
    assert (found := estimate_seconds(as_small, [moments])) and found.value == pytest.approx(
        seconds * 20 / 16
    )
    real = Measured(classifier("resnet50", 1000, crop=crop, device="NVIDIA A100"), 60.0, 1000)
    found = rough_seconds(work, [moments, real])
    ratio = packaged()[1]["efficientnet_lite0"] / packaged()[1]["resnet50"]
    assert (
        found and found.value == pytest.approx(60.0 * 10 * 10 * ratio) and found.devices == ("NVIDIA A100",)
    )


@pytest.mark.parametrize("own", [[], [2.7]])
def test_what_cpus_do_for_a_trial_with_a_gpu_is_estimated_like_any_work_of_cpus(own: list[float]) -> None:
    """Masks and scores are made beside the GPU: records of them say `cpu`."""
    content = STAGES["pseudo_masks"].model()().model_dump(mode="json")

    def masks(device: str, images: int, pixels: int) -> Work:
        return Work("pseudo_masks", content, {"images": images, "pixels": pixels, "backbone": ""}, device, 1)

    smoke = [Measured(masks("cpu", 16, 4096), seconds, 1000) for seconds in own]
    on_cpus, beside = (rough_seconds(masks(device, 437, 182_381), smoke) for device in ("cpu", "A100"))
    assert beside == on_cpus and beside is not None and beside.devices == (PACKAGED,)


def test_a_photo_of_real_size_is_not_judged_by_a_drawn_one() -> None:
    """Measured: 437 photos' CAMs at 288 pixels take 30 s, their scores 6 s, their CRF 60 to 90 s."""
    for stage, params, backbone, took in (
        ("cams", {"size": 288, "scales": [1.0]}, "efficientnet_lite0", 30),
        ("scores", {"kind": "cams"}, "", 6),
        ("pseudo_masks", {}, "", 75),
    ):
        content = STAGES[stage].model().model_validate(params).model_dump(mode="json")
        work = Work(stage, content, {"images": 437, "pixels": 182_381, "backbone": backbone}, "cpu", 1)
        found = rough_seconds(work, [])
        assert found is not None and took / 2 < found.value < took * 2, (stage, found)


def test_an_archived_artefact_says_nothing_of_sizes() -> None:
    gone = Measured(classifier("resnet50", 16), seconds=8.0, bytes=0)
    assert estimate_bytes(classifier("resnet50", 16), [gone]) is None
    assert rough_bytes(classifier("resnet50", 16), [gone])


def test_of_several_the_one_with_the_same_backbone_tells_and_then_the_largest() -> None:
    own = Measured(classifier("resnet50", 8, freeze="none"), seconds=80.0, bytes=1)
    larger = Measured(classifier("resnet50", 16, freeze="none"), seconds=80.0, bytes=1)
    found = rough_seconds(classifier("resnet50", 16, freeze="all"), [SMOKE, own, larger])
    assert found is not None and found.value == pytest.approx(80.0)


def test_a_gpu_is_not_guessed_from_cpus() -> None:
    assert rough_seconds(classifier("resnet50", 16, device="cuda"), [SMOKE]) is None
    found = rough_seconds(
        classifier("resnet50", 16), [Measured(classifier("resnet50", 16, device="A100"), 1.0, 1)]
    )
    assert found is not None and found.devices == (PACKAGED,)


def test_what_is_packaged_is_of_stages_and_backbones_that_there_are() -> None:
    known, backbones = packaged()
    assert all(one.work.amount > 0 and one.seconds > 0 for one in known)
    assert {one.work.stage for one in known} <= set(STAGES)
    assert all(seconds > 0 for seconds in backbones.values())
    needed = {
        use.stage for sweep in load_study(QUICKSTART).sweeps for arm in sweep.arms for use in arm.stages
    }
    assert needed <= {one.work.stage for one in known}
    assert rough_bytes(classifier("resnet50", 16), []) is not None


@pytest.mark.long
def test_plan_answers_before_the_first_run(tmp_path: Path) -> None:
    words = ("plan", QUICKSTART, "--storage", tmp_path / "none", "-s", "data.sample.size=64")
    done = in_process(*words)
    assert done.returncode == 0, done.stderr
    table = done.stdout.split("before anything starts")[0]
    assert "~" in table and "?" not in table and PACKAGED in table and "~ is rough" in table
    assert "Work left: 24 trials, ~" in table
    assert all(len(line) <= 80 for line in table.split("Work left")[0].split("\n")), "it fits 80 columns"
    found = json.loads(in_process(*words, "--json").stdout)
    assert all(row["rough"] and row["seconds"] > 0 for row in found["sweeps"])
    disk = next(check for check in found["checks"] if check["what"] == "disk")
    size = re.search(r"Disk: +(\S+ \w+)", done.stdout)
    assert size and f"the study needs roughly {size[1]}" in disk["found"], "one estimate, said twice"
    assert not (tmp_path / "none").exists()


def test_plan_counts_trials_without_the_data(tmp_path: Path) -> None:
    words = ("plan", ROOT / "tune_configs/voc.yaml", "--storage", tmp_path / "none")
    done = in_process(*words, "-s", f"data.root={tmp_path / 'gone'}")
    assert done.returncode == 2 and "there is no such folder" in done.stderr
    assert "voc: 196 trials, as its file says" in done.stdout
    assert "affinity, walk" in done.stdout and "baseline" in done.stdout
    found = json.loads(in_process(*words, "-s", f"data.root={tmp_path / 'gone'}", "--json").stdout)
    assert found["trials"] == 196 == sum(one["trials"] for one in found["counts"])


def test_a_head_and_what_it_makes_are_work_of_its_classifiers_network(tmp_path: Path) -> None:
    """The frozen network does nearly all of it: two heads on unlike networks are no works alike."""
    text = """
data: {dataset: sample, sample: {train: 12, val: 4, size: 64}, test: {split: val}}
sweeps:
  - name: all
    stages:
      - classifier: {backbone: mobilenet_v2, weights: none, epochs: 1}
      - cams
      - pseudo_masks
      - pixel_head
      - probabilities
      - segmentations
"""
    study = load_study_text(text, source="heads.yaml", base=tmp_path, storage=str(tmp_path))
    data = open_data(study.data, storage=tmp_path)
    (trial,) = sweep_trials(study, study.sweeps[0], [], data, {})
    found = {node.label: backbone_of(node, trial.chain) for node in trial.chain.nodes if not node.is_score}
    network = "mobilenet_v2"
    assert found == {
        **dict.fromkeys(("classifier", "cams", "pixel_head", "probabilities", "segmentations"), network),
        "pseudo_masks": "",
    }


def test_a_plan_knows_heads_on_frozen_features() -> None:
    known = {one.work.stage for one in packaged()[0]}
    assert {"pixel_head", "probabilities", "segmentations"} <= known
    head = PixelHeadParams.model_validate({"supervision": {"masks": 25}}).model_dump(mode="json")
    facts = {"images": 300, "pixels": 174_272, "backbone": "efficientnet_lite0"}
    found = rough_seconds(Work("pixel_head", head, facts, "cpu", 1), [])
    assert found is not None and 5 < found.value < 300
