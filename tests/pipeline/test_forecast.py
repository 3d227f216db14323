"""What a plan expects is what was measured on work like it, and nothing where there is none."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import toys
from tiny_devkit import write_tiny_voc

from wsss.config import Budget, DataSpec, SplitSpec
from wsss.config.params.stages import (
    AffinityParams,
    CamsParams,
    ClassifierParams,
    CrfParams,
    Params,
    PseudoMasksParams,
    SegmentationsParams,
    SegmenterParams,
    SubcategoriesParams,
    WalkParams,
)
from wsss.data.view import open_data
from wsss.pipeline.chains.chain import Part, build_chain
from wsss.pipeline.chains.execute import run_chain
from wsss.pipeline.chains.facts import work_facts
from wsss.pipeline.forecasts.effort import (
    Estimate,
    Measured,
    Work,
    estimate_bytes,
    estimate_seconds,
    measured,
)
from wsss.pipeline.forecasts.forecast import Total, budget_rows, totals
from wsss.pipeline.search.budget import Spent
from wsss.store.folder_store import Store

SMALL: Params = ClassifierParams(backbone="efficientnet_lite0", epochs=2, crop=64, long_side=(64, 96))


def work(
    params: Params = SMALL,
    stage: str = "classifier",
    *,
    images: int = 100,
    pixels: int = 64 * 64,
    device: str = "cpu",
    threads: int = 1,
    backbone: str = "efficientnet_lite0",
) -> Work:
    facts = {"images": images, "pixels": pixels, "backbone": backbone}
    return Work(stage, params.model_dump(mode="json"), facts, device, threads)


def changed(params: Params, **changes: Any) -> Params:
    return type(params).model_validate({**params.model_dump(), **changes})


KNOWN = [Measured(work(), seconds=10.0, bytes=5_000)]


@pytest.mark.parametrize(
    ("planned", "seconds"),
    [
        (work(), 10),
        (work(changed(SMALL, epochs=6)), 30),
        (work(images=250), 25),
        (work(changed(SMALL, crop=128)), 40),
        (work(changed(SMALL, lr=0.5, mixing={"kind": "fmix"})), 10),
        (work(changed(SMALL, crop=129)), None),
        (work(changed(SMALL, crop=448)), None),
        (work(backbone="resnet50"), None),
        (work(device="cuda"), None),
        (work(threads=2), None),
        (work(changed(SMALL, freeze="all")), None),
        (work(AffinityParams(crop=64, epochs=2), "affinity"), None),
    ],
)  # fmt: skip
def test_time_grows_with_epochs_images_and_pixels_and_is_not_carried_over_to_what_is_unlike(
    planned: Work, seconds: float | None
) -> None:
    found = estimate_seconds(planned, KNOWN)
    assert (found and found.value) == (seconds and pytest.approx(seconds))


def test_the_nearest_in_size_tell_and_their_mean_is_taken() -> None:
    large = work(changed(SMALL, crop=128))
    known = [*KNOWN, Measured(work(), 14.0, 5_000), Measured(large, 30.0, 5_000)]
    assert estimate_seconds(work(), known) == Estimate(pytest.approx(12.0), 2, ("cpu",))
    assert estimate_seconds(large, known) == Estimate(pytest.approx(30.0), 1, ("cpu",))


def test_a_gpu_of_any_name_tells_for_gpus() -> None:
    known = [Measured(work(device="NVIDIA A100", threads=8), 3.0, 1)]
    assert estimate_seconds(work(device="cuda", threads=4), known) == Estimate(
        pytest.approx(3.0), 1, ("NVIDIA A100",)
    )


def test_gpus_of_different_names_are_counted_apart() -> None:
    """Of a fast and a slow GPU the mean is of neither."""
    fast = [Measured(work(device="NVIDIA H100"), 2.0, 1), Measured(work(device="NVIDIA H100"), 4.0, 1)]
    slow = [Measured(work(device="Tesla T4"), 30.0, 1)]
    on = {
        name: estimate_seconds(work(device=name), [*slow, *fast])
        for name in ("NVIDIA H100", "Tesla T4", "NVIDIA A100", "cuda")
    }
    assert on["NVIDIA H100"] == Estimate(pytest.approx(3.0), 2, ("NVIDIA H100",))
    assert on["Tesla T4"] == Estimate(pytest.approx(30.0), 1, ("Tesla T4",))
    assert on["NVIDIA A100"] is None
    assert on["cuda"] == on["NVIDIA H100"], "of which there is most"
    assert estimate_seconds(work(device="cuda"), [*slow, fast[0]]) == on["Tesla T4"], "of equals the slower"


def test_a_kind_of_gpu_is_known_by_the_names_of_its_cards() -> None:
    names = ("NVIDIA A100-SXM4-40GB", "Tesla T4", "NVIDIA A10")
    known = [
        Measured(work(device=name), seconds, 1) for name, seconds in zip(names, (2.0, 30.0, 9.0), strict=True)
    ]
    for kind, seconds in (("A100", 2.0), ("T4", 30.0), ("A10", 9.0)):
        found = estimate_seconds(work(device=kind), known)
        assert found is not None and found.value == pytest.approx(seconds), kind
    assert estimate_seconds(work(device="H100"), known) is None


def test_gpu_hours_are_counted_apart_where_sweeps_ask_for_kinds() -> None:
    def row(accelerator: str | None, hours: float) -> dict[str, Any]:
        head = {
            "sweep": "a",
            "arm": str(accelerator),
            "unfinished": 1,
            "to_make": 1,
            "seconds": 1.0,
            "bytes": 1.0,
        }
        return {**head, "gpu_hours": hours, "accelerator": accelerator}

    assert totals([row(None, 1.0), row(None, 2.0)]).accelerators == {}
    assert totals([row("A100", 1.0), row(None, 2.0), row("A100", 0.5)]).accelerators == {
        "A100": 1.5,
        "any": 2.0,
    }


SEGMENTER = SegmenterParams(batch=4, iterations=100, scales=(1.0,), crop=65)


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({}, 10),
        ({"iterations": 2}, 0.2),
        ({"iterations": 20_000}, 2000),
        ({"iterations": None, "epochs": 8}, 20),  # 100 updates of 4 are the 100 images 4 times
        ({"batch": 8, "accumulate": 2}, 20),
        ({"scales": [1.0, 0.5]}, 12.5),
        ({"scales": [1.0, 0.75, 0.5]}, 10 * (1 + 0.5625 + 0.25)),
        ({"accumulate": 2}, None),
        ({"batch": 8}, None),
        ({"freeze": "all"}, None),
        ({"lr": 0.5, "ema": 0.9}, 10),
    ],
)  # fmt: skip
def test_a_segmenter_costs_its_updates_and_the_area_of_its_scales(
    changes: dict[str, Any], seconds: float | None
) -> None:
    known = [Measured(work(SEGMENTER, "segmenter"), 10.0, 1)]
    found = estimate_seconds(work(changed(SEGMENTER, **changes), "segmenter"), known)
    assert (found and found.value) == (seconds and pytest.approx(seconds))


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({}, 8),
        ({"flip": True}, 16),
        ({"scales": [1.0]}, 8),
        ({"scales": [0.5, 1.0, 1.5]}, 8 * (0.25 + 1 + 2.25)),
        ({"crf": {}}, None),
    ],
)  # fmt: skip
def test_segmentations_cost_the_area_of_their_scales_twice_with_mirrored_copies(
    changes: dict[str, Any], seconds: float | None
) -> None:
    def planned(**changes: Any) -> Work:
        found = work(changed(SegmentationsParams(), **changes), "segmentations")
        notes = {"scales": changes.get("scales") or [1.0]}  # those of the training where it has none
        return dataclasses.replace(found, facts={**found.facts, "notes": notes})

    found = estimate_seconds(planned(**changes), [Measured(planned(), 8.0, 1)])
    assert (found and found.value) == (seconds and pytest.approx(seconds))
    with_crf = [Measured(planned(crf={}), 30.0, 1)]
    same = estimate_seconds(planned(crf={}), with_crf)
    assert same is not None and same.value == pytest.approx(30)
    assert estimate_seconds(planned(crf={"iterations": 3}), with_crf) is None
    assert estimate_seconds(dataclasses.replace(planned(crf={}), threads=4), with_crf) is None


def test_a_part_of_a_classifier_costs_its_own_epochs() -> None:
    part = changed(SMALL, epochs=20, span=(4, 8))
    found = estimate_seconds(work(part), KNOWN)
    assert found is not None and found.value == pytest.approx(20)  # two epochs took 10 s


def test_a_crf_costs_its_iterations() -> None:
    known = [Measured(work(PseudoMasksParams(), "pseudo_masks"), 20.0, 1)]
    shorter = work(PseudoMasksParams(crf=CrfParams(iterations=5)), "pseudo_masks")
    found = estimate_seconds(shorter, known)
    assert found is not None and found.value == pytest.approx(10)


def test_what_nobody_knows_any_more_tells_nothing() -> None:
    gone = dataclasses.replace(work(), stage="of_a_plugin_that_is_gone")
    old = dataclasses.replace(work(), params={**work().params, "renamed": 1})
    for other in (gone, old):
        assert estimate_seconds(work(), [Measured(other, 5.0, 5)]) is None
        assert estimate_bytes(work(), [Measured(other, 5.0, 5)]) is None
        assert estimate_seconds(other, KNOWN) is None


def test_pooled_stages_share_their_images_among_cpus() -> None:
    crf = PseudoMasksParams()
    known = [Measured(work(crf, "pseudo_masks", device="NVIDIA A100", threads=2), 20.0, 1000)]
    found = estimate_seconds(work(crf, "pseudo_masks", threads=8), known)
    assert found is not None and found.value == pytest.approx(5.0)
    walk = PseudoMasksParams(walk=WalkParams())
    assert estimate_seconds(work(walk, "pseudo_masks", threads=2), known) is None
    longer = PseudoMasksParams(walk=WalkParams(log_steps=4))
    known = [Measured(work(walk, "pseudo_masks"), 20.0, 1000)]
    assert estimate_seconds(work(longer, "pseudo_masks"), known) is None
    sharper = PseudoMasksParams(walk=WalkParams(beta=3))
    assert estimate_seconds(work(sharper, "pseudo_masks"), known) == Estimate(
        pytest.approx(20.0), 1, ("cpu",)
    )


def test_cams_cost_the_area_of_their_scales() -> None:
    one, four = CamsParams(scales=(1.0,), flip=False), CamsParams(scales=(0.5, 1.0, 1.5, 2.0), flip=True)
    found = estimate_seconds(work(four, "cams"), [Measured(work(one, "cams"), 8.0, 1)])
    assert found is not None and found.value == pytest.approx(8 * 2 * (0.25 + 1 + 2.25 + 4))


def test_networks_are_as_large_as_ever_and_maps_grow_with_images() -> None:
    longer = work(changed(SMALL, epochs=50, crop=128), images=10**4, device="cuda", threads=9)
    assert estimate_bytes(longer, KNOWN) == Estimate(pytest.approx(5_000), 1, ("cpu",))
    known = [Measured(work(CamsParams(), "cams"), 1.0, 800)]
    more = estimate_bytes(work(CamsParams(), "cams", images=300), known)
    assert more is not None and more.value == pytest.approx(2400)
    assert estimate_bytes(work(CamsParams(), "cams", pixels=500 * 375), known) is None
    assert estimate_bytes(work(SubcategoriesParams(), "subcategories"), known) is None


def test_facts_come_from_the_photos(tmp_path: Path) -> None:
    select, report = SplitSpec(split="train"), SplitSpec(split="val")
    spec = DataSpec(
        dataset="voc", root=write_tiny_voc(tmp_path / "voc"), holdout=0, select=select, report=report
    )
    data = open_data(spec, storage=tmp_path)
    parts: list[tuple[str, Params]] = [
        ("classifier", ClassifierParams(weights="none")),
        ("cams", CamsParams()),
    ]
    chain = build_chain([Part(stage, stage, params) for stage, params in parts], data, 0)
    facts = {label: work_facts(chain[label], chain, data) for label in ("classifier", "cams", "cams.scores")}
    assert facts["classifier"] == {"images": 4, "pixels": 1200, "backbone": "resnet50"}
    assert facts["cams"] == {"images": 6, "pixels": 1200, "backbone": "resnet50"}
    assert facts["cams.scores"] == {"images": 6, "pixels": 1200, "backbone": ""}


def test_what_a_run_records_is_what_a_forecast_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data: Any = toys.install(monkeypatch)
    chain = build_chain([Part("source", "source", toys.ToyParams())], data, 0)
    store = Store(tmp_path / "store")
    list(run_chain("t", chain, store, data, device="cpu", threads=1))
    artefact = next(iter(store))
    assert artefact.record["work"] == {"images": 0, "pixels": 0, "backbone": ""}
    found = measured(artefact.record)
    assert found is not None and found.bytes == artefact.bytes and found.work.device == "cpu"
    assert measured({name: value for name, value in artefact.record.items() if name != "work"}) is None


def row(sweep: str, arm: str, **changes: Any) -> Mapping[str, Any]:
    return {
        "sweep": sweep,
        "arm": arm,
        "trials": 3,
        "unfinished": 2,
        "to_make": 2,
        "in_storage": 1,
        "seconds": 10.0,
        "gpu_hours": 0.5,
        "bytes": 1e9,
        **changes,
    }


def test_totals_add_up_what_is_known_and_say_what_is_not() -> None:
    rows = [row("a", "x"), row("a", "x"), row("a", "y", to_make=0, unfinished=0)]
    assert totals(rows) == Total(2, 20.0, 1.0, 2e9, False, False)
    assert totals([*rows, row("b", "x", seconds=None, gpu_hours=None)]) == Total(
        4, 20.0, 1.0, 3e9, True, False
    )
    assert totals([row("b", "x", seconds=None, gpu_hours=None, bytes=None)]) == Total(
        2, None, None, None, True, True
    )
    assert totals([]).seconds == 0


def test_a_budget_is_compared_with_what_is_used_and_what_is_left() -> None:
    total = Total(4, 7200.0, 3.0, 2e9, False, True)
    spent = Spent(hours=1.0, gpu_hours=2.0, trials=2, disk_gb=0.5)
    rows = {
        r["budget"]: r for r in budget_rows(Budget(hours=3, gpu_hours=4, trials=6, disk_gb=10), spent, total)
    }
    assert {name: r["enough"] for name, r in rows.items()} == {
        "hours": True, "gpu_hours": False, "trials": True, "disk_gb": None,
    }  # fmt: skip
    assert rows["hours"] == {"budget": "hours", "used": 1.0, "left": 2.0, "limit": 3.0, "enough": True}
    unknown = dataclasses.replace(total, seconds=None, unknown_time=True)
    assert budget_rows(Budget(hours=3), spent, unknown)[0]["enough"] is None
    assert budget_rows(Budget(disk_gb=1), spent, total)[0]["enough"] is False, (
        "too much already, known or not"
    )
