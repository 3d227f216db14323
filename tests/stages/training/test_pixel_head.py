"""A pixel head: what it is taught, by whose masks, and that those are scored nowhere after it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import log_softmax

from wsss.config.params.pixel_head import DrawnMasks, PixelHeadParams
from wsss.data.view import DataView
from wsss.errors import ConfigError
from wsss.masks.segmentation import segment
from wsss.metrics import confusion, miou
from wsss.models import CamNetwork, create_backbone
from wsss.models.networks.pixel_head import PixelHeadNetwork, fitted
from wsss.pipeline.chains.chain import Chain, Part, build_chain
from wsss.predict.predictor import Predictor, Settings
from wsss.predict.trained.model import load_artefact
from wsss.report.origins import pixel_labels, supervision_of
from wsss.stages.kinds.scoring.scores import ScoresParams, scored_ids
from wsss.stages.kinds.training.pixel_head import drawn_images
from wsss.stages.probabilities import among
from wsss.stages.shards import CamShards
from wsss.stages.training.pixel_head import cell_loss
from wsss.stages.training.segmentation_network import load_segmenter
from wsss.store.folder_store import Store
from wsss.store.ledger import TrialRecord


def params(**given: object) -> PixelHeadParams:
    return PixelHeadParams.model_validate(given)


def network(*, foreground: bool, size: int = 64) -> PixelHeadNetwork:
    torch.manual_seed(0)
    cam = CamNetwork(create_backbone("efficientnet_lite0", "none"), classes=2)
    return PixelHeadNetwork(cam, ["cat", "dog"], size=size, foreground=foreground, channels=4).eval()


def test_the_masks_that_taught_are_named_and_scored_nowhere(
    tiny_chain: Chain, tiny_view: DataView, calm_store: Store
) -> None:
    drawn = drawn_images(tiny_view, 3, seed=0)
    assert len(drawn) == 3 and set(drawn) < set(tiny_view.select)
    record = calm_store.get(tiny_chain["few"].key).record  # type: ignore[union-attr]
    assert record["summary"]["drawn"] == sorted(drawn) and record["summary"]["drawn_from"] == "select"
    folder = calm_store.folder(tiny_chain["few_maps.scores"].key)
    with np.load(folder / "confusions.npz", allow_pickle=False) as arrays:
        assert set(arrays["select_ids"]) == set(tiny_view.select) - set(drawn)
        assert tuple(arrays["report_ids"]) == tiny_view.report
    others = calm_store.folder(tiny_chain["cams.scores"].key)
    with np.load(others / "confusions.npz", allow_pickle=False) as arrays:
        assert tuple(arrays["select_ids"]) == tiny_view.select, "who was not taught is scored on all"


def test_what_follows_a_few_masks_is_not_scored_on_them_either(tiny_view: DataView) -> None:
    from wsss.config import resolve_stage
    from wsss.config.study import StageUse

    def part(stage: str, **given: object) -> Part:
        return Part(stage, stage, resolve_stage(StageUse(stage=stage, params=dict(given), name=stage), {}))

    probe = part("classifier", method="probe", backbone="efficientnet_lite0")
    head = part("pixel_head", supervision={"masks": 4}, learns="foreground")
    parts = [probe, part("cams"), head, part("probabilities"), part("pseudo_masks"), part("segmentations")]
    chain = build_chain(parts, tiny_view, seed=5)
    asked = {label: chain[f"{label}.scores"].params for label in ("cams", "probabilities", "pseudo_masks")}
    assert asked["cams"] == ScoresParams(kind="cams")
    for label in ("probabilities", "pseudo_masks"):
        kind = "cams" if label == "probabilities" else label
        assert asked[label] == ScoresParams(kind=kind, drawn=4, draw=5)
    whole = dataclasses.replace(tiny_view, teach=tiny_view.select[:5], select=tiny_view.select[5:])
    apart = build_chain(parts, whole, seed=5)
    assert apart["probabilities.scores"].params == ScoresParams(kind="cams"), (
        "`teach` has left `select` before"
    )


def test_more_masks_than_there_are_or_all_of_them_are_refused(tiny_view: DataView) -> None:
    count = len(tiny_view.select)
    with pytest.raises(ConfigError, match=f"is {count + 1}, but `data.select` has {count} images"):
        drawn_images(tiny_view, count + 1, seed=0)
    with pytest.raises(ConfigError, match="leaves none of the `select` images"):
        scored_ids(ScoresParams(kind="cams", drawn=count, draw=0), tiny_view)


def test_another_seed_draws_others(tiny_view: DataView) -> None:
    draws = {tuple(sorted(drawn_images(tiny_view, 3, seed))) for seed in range(8)}
    assert len(draws) > 3


def record_of(keys: dict[str, str]) -> TrialRecord:
    about = {"upstream": "", "method": "probe", "backbone": "", "configuration": "c", "status": "done"}
    return TrialRecord(id="t", sweep="s", arm="a", seed=0, params={}, keys=keys, **about)


def test_supervision_is_declared_by_the_number(tiny_chain: Chain, calm_store: Store) -> None:
    keys = {label: tiny_chain[label].key for label in ("first", "few", "few_maps")}
    trial = record_of(keys)
    assert supervision_of([trial], calm_store) == ("image", "masks: 3")
    assert pixel_labels({}, [trial], calm_store) == ("few is trained on 3 masks",)
    taught = {label: tiny_chain[label].key for label in ("classifier", "head")}
    weak = record_of(taught)
    assert supervision_of([weak], calm_store) == ("image",)


def test_the_loss_is_that_of_every_known_pixel() -> None:
    logits = torch.randn(1, 3, 2, 3)
    labels = torch.randint(0, 3, (1, 8, 12)).to(torch.uint8)
    labels[0, :3, :5] = 255
    grown = torch.nn.functional.interpolate(logits, (8, 12), mode="bilinear", align_corners=False)
    known = [
        -log_softmax(grown[0, :, y, x], 0)[int(labels[0, y, x])]
        for y in range(8)
        for x in range(12)
        if labels[0, y, x] != 255
    ]
    assert torch.allclose(cell_loss(logits, labels), torch.stack(known).mean(), atol=1e-6)
    assert cell_loss(logits, torch.full_like(labels, 255)) == 0


def test_the_classifier_says_which_class_a_pixel_is() -> None:
    head = network(foreground=True)
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        (found,) = head.pyramid(x, [1.0])
        where = head.head(head.features(x)[:, : head.inputs]).softmax(1)[0]
        maps = head.cam.cam(x)[0]
    cells = [(row, column) for row in range(4) for column in range(4)]  # all of them lie in one window
    near = [
        sum(float(where[1, a, b] * maps[k, a, b]) for a, b in cells)
        / sum(float(where[1, a, b]) for a, b in cells)
        for k in range(2)
    ]
    for y, cell in ((0, 1), (3, 2)):
        raw = [float(np.exp(2 * near[k])) for k in range(2)]
        shares = [value / sum(raw) for value in raw]
        expected = [float(where[0, y, cell]), *(float(where[1, y, cell]) * share for share in shares)]
        assert found[0, :, y, cell].exp().tolist() == pytest.approx(expected, abs=1e-5)


def test_photos_are_shown_at_the_size_that_it_learnt_and_small_ones_as_they_are() -> None:
    assert fitted(torch.zeros(1, 3, 100, 200), 64, 1.0).shape[2:] == (32, 64)
    assert fitted(torch.zeros(1, 3, 100, 200), 64, 0.5).shape[2:] == (16, 32)
    assert fitted(torch.zeros(1, 3, 30, 20), 64, 1.0).shape[2:] == (30, 20)
    assert fitted(torch.zeros(1, 3, 30, 20), None, 2.0).shape[2:] == (60, 40)
    shown = [
        one.shape[2:] for one in network(foreground=False).pyramid(torch.zeros(1, 3, 128, 256), [1.0, 0.5])
    ]
    assert shown == [(2, 4), (1, 2)]


def test_other_classes_are_ruled_out() -> None:
    probabilities = np.zeros((4, 1, 2), np.float32)
    probabilities[:, 0, 0] = [0.5, 0.2, 0.2, 0.1]
    probabilities[2, 0, 1] = 1
    assert np.allclose(among(probabilities, np.array([0, 2]))[:, 0], [[0.25, 0], [0.125, 0]])


def test_its_maps_are_the_networks_own_probabilities(
    tiny_chain: Chain, tiny_view: DataView, calm_store: Store
) -> None:
    shards = CamShards(calm_store.folder(tiny_chain["few_maps"].key))
    head = load_segmenter(calm_store.folder(tiny_chain["few"].key))
    assert isinstance(head, PixelHeadNetwork) and head.foreground and head.size == 96
    id = tiny_view.report[0]
    maps, keys = shards[id]
    photo = np.asarray(tiny_view.dataset.image(id))
    scores = segment(head, photo, scales=[1.0], flip=True, device="cpu")
    assert np.abs(maps - among(scores, keys)).max() < 2e-3
    assert keys.tolist() == np.flatnonzero(tiny_view.dataset.labels([id])[0]).tolist()


def test_it_learns_what_its_masks_show(
    tiny_view: DataView, calm_store: Store, tiny_chain: Chain, tmp_path: Path
) -> None:
    from wsss.stages.contract import Context
    from wsss.stages.training.pixel_head import PixelHead

    asked = params(
        supervision={"masks": 4},
        learns="foreground",
        iterations=300,
        batch=2,
        channels=32,
        dropout=0,
        lr=0.003,
    )
    work, out = tmp_path / "work", tmp_path / "out"
    work.mkdir()
    out.mkdir()
    inputs = {"classifier": calm_store.folder(tiny_chain["first"].key)}
    stage = PixelHead(Context(asked, inputs, tiny_view, 0, "cpu", 1, work))
    losses = [stage.step().get("loss") for _ in range(stage.steps)]
    assert losses[-1] < 0.7 * losses[1]  # type: ignore[operator]
    stage.finish(out)
    head = load_segmenter(out)
    total = np.zeros((2, 2), np.int64)
    for id in stage.ids:
        found = segment(head, np.asarray(tiny_view.dataset.image(id)), scales=[1.0], flip=False, device="cpu")
        truth = tiny_view.dataset.mask(id)
        truth = np.where(truth == 255, truth, np.minimum(truth, 1))
        total += confusion(truth, (found[0] < 0.5).astype(np.uint8), 1)
    assert miou(total) > 0.6


def test_predict_takes_it_like_any_segmenter(
    tiny_chain: Chain, tiny_view: DataView, calm_store: Store
) -> None:
    key = tiny_chain["few"].key
    model = load_artefact(calm_store.folder(key), key)
    assert model.classes == tiny_view.dataset.classes and model.scales == (1.0, 0.5)
    predictor = Predictor(model, Settings((1.0,)))
    try:
        large = np.random.default_rng(0).integers(0, 255, (1100, 1400, 3), np.uint8)
        (mask,) = predictor.masks([large], predictor.plan(1100, 1400))
        assert mask.shape == (1100, 1400) and mask.max() <= len(model.classes)
    finally:
        predictor.close()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("mask", "did you mean 'masks'"),
        ({"masks": 0}, "must be pseudo_masks, masks"),
        ({"mask": 5}, "must be pseudo_masks, masks"),
        ({"masks": True}, "must be pseudo_masks, masks"),
        ({"masks": 5, "more": 1}, "must be pseudo_masks, masks"),
        (25, "must be pseudo_masks, masks"),
    ],
)
def test_a_teacher_that_is_none_is_refused_once(given: object, expected: str) -> None:
    from wsss.config import load_study_text

    text = f"data: {{dataset: sample}}\nsweeps: [{{name: a, stages: [classifier: {{backbone: efficientnet_lite0}}, pixel_head: {{supervision: {given!r}}}]}}]"
    with pytest.raises(ConfigError) as caught:
        load_study_text(text.replace("True", "true"), source="x.yaml", base=Path("/"))
    about = [str(problem) for problem in caught.value.problems if "supervision" in str(problem)]
    assert len(about) == 1 and expected in about[0], about


def test_few_masks_need_no_leave_but_all_of_them_do_and_none_are_an_error() -> None:
    from wsss.config import load_study_text

    def problems(asked: str, data: str = "{dataset: sample}") -> list[str]:
        arm = f"classifier: {{backbone: efficientnet_lite0}}, pixel_head: {{supervision: {asked}}}, probabilities"
        text = f"data: {data}\nsweeps: [{{name: a, search: {{n: {{choice: [2, 4]}}}}, stages: [{arm}]}}]"
        text = text.replace("search: {n: {choice: [2, 4]}}, ", "") if "$n" not in asked else text
        try:
            load_study_text(text, source="x.yaml", base=Path("/"))
        except ConfigError as error:
            return [problem.message for problem in error.problems]
        return []

    assert problems("{masks: 5}") == [] and problems("{masks: $n}") == []
    assert any("trains on pixel masks" in one for one in problems("masks"))
    assert problems("masks", "{dataset: sample, allow: [train_on_masks]}") == []
    unmasked = problems("{masks: 5}", "{dataset: folder, root: /tmp, masks: none}")
    assert any("trains on pixel masks, but there are none" in one for one in unmasked)
    assert DrawnMasks(masks=3).masks == 3
