"""All that works on a GPU, on one that isn't there: no tensor is left behind, no checkpoint is tied to a device."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from virtual_gpu import PACKAGE, Card, MixedDevices, _line, virtual_gpus

from wsss.config.params.methods import METHODS, expand_method
from wsss.config.params.stages import AffinityParams, FeaturesParams, SegmenterParams, classifier_params
from wsss.config.parts import HIDINGS, REGULARISERS
from wsss.data.view import DataView
from wsss.files import read_json
from wsss.masks import cams
from wsss.masks.images import read_mask, write_mask
from wsss.methods import losses, objective
from wsss.methods.hider import Hider
from wsss.models import CamNetwork, DeepLab, backbone_names, create_backbone
from wsss.models.head import HEADS
from wsss.models.kind import can_be_dense
from wsss.pipeline.chains.chain import Chain
from wsss.pipeline.chains.execute import run_chain
from wsss.stages.contract import Context, Stage
from wsss.stages.features import Features
from wsss.stages.shards import CamShards
from wsss.stages.training import classifier as classifier_module
from wsss.stages.training import segmenter_training
from wsss.stages.training.affinity import Affinity
from wsss.stages.training.classifier import Classifier
from wsss.stages.training.pixel_labels import PixelLabels
from wsss.stages.training.segmenter import Segmenter
from wsss.stages.training.segmenter_training import SegmenterTraining, Task
from wsss.store.artefact import Artefact
from wsss.store.folder_store import Store

SMALL = {
    "backbone": "efficientnet_lite0", "epochs": 3, "batch": 4, "crop": 64, "long_side": [64, 96],
    "rung": {"images": 0}, "head_multiplier": 3.0,
}  # fmt: skip
DENSE = {"backbone": "efficientnet_lite0", "epochs": 3, "batch": 4, "crop": 33, "scales": [1.0, 0.5]}
TRAININGS = ("classifier", "affinity", "segmenter")
Make = Callable[..., Any]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def card() -> Iterator[Card]:
    with virtual_gpus() as card:
        yield card


@pytest.fixture(scope="module")
def masks(tiny_view: DataView, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("masks")
    for id in (*tiny_view.train, *tiny_view.holdout):
        write_mask(folder / f"{id}.png", tiny_view.dataset.mask(id))
    return folder


@pytest.fixture
def make(tiny_view: DataView, masks: Path, tmp_path: Path) -> Make:
    def stage(name: str, device: str, inputs: dict[str, Path] | None = None, **params: Any) -> Stage:
        kinds: dict[str, tuple[Any, Any, dict[str, Any]]] = {
            "classifier": (
                Classifier,
                lambda raw: classifier_params().model_validate(expand_method(raw)),
                SMALL,
            ),
            "affinity": (Affinity, AffinityParams.model_validate, {k: SMALL[k] for k in [*SMALL][:5]}),
            "segmenter": (Segmenter, SegmenterParams.model_validate, DENSE),
        }
        work, validate, defaults = kinds[name]
        sources = {"affinity_labels": masks, "pseudo_masks": masks, **(inputs or {})}
        torch.manual_seed(0)
        return work(Context(validate({**defaults, **params}), sources, tiny_view, 0, device, 1, tmp_path))

    return stage


def weights(stage: Any, folder: Path) -> dict[str, torch.Tensor]:
    folder.mkdir()
    stage.finish(folder)
    return load_file(next(folder.glob("*.safetensors")))


@contextlib.contextmanager
def gpu(kind: str) -> Iterator[Card | None]:
    if kind == "virtual":
        with virtual_gpus() as card:
            yield card
    elif torch.cuda.is_available():
        yield None
    else:
        pytest.skip("this machine has no GPU: that CPU and GPU agree was shown on the virtual one alone")


LOSS, FEATURES, MAPS, PIXELS, MIOU = 0.02, 0.02, 0.02, 0.02, 0.02
"""How far a stage on a GPU may be from the same stage on a CPU with the same inputs (docs/gpus.md): the loss of
the first epoch and the features, relatively; CAMs on average; the share of pixels with another label; mIoU."""


def difference(here: Artefact, there: Artefact) -> tuple[float, float]:
    """Return how far two artefacts are apart, and how far they may be."""
    files = here.folder, there.folder
    if here.stage == "cams":
        ours, theirs = map(CamShards, files)
        return float(
            np.mean(
                [np.abs(ours[id][0].astype(float) - theirs[id][0]).mean() for id in ours if len(ours[id][1])]
            )
        ), MAPS
    if here.stage == "features":
        ours, theirs = (np.load(folder / "features.npz")["features"] for folder in files)
        return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)), FEATURES
    if here.stage == "scores":
        ours, theirs = (read_json(folder / "scores.json") for folder in files)
        part = "report" if "report" in ours else "test"
        return abs(ours[part]["miou"] - theirs[part]["miou"]), MIOU
    if masks := sorted(path.name for path in files[0].glob("*.png")):
        other = [(read_mask(files[0] / name) != read_mask(files[1] / name)).mean() for name in masks]
        return float(np.mean(other)), PIXELS
    ours, theirs = (one.record["history"][0].get("loss", 1.0) for one in (here, there))
    return abs(ours / theirs - 1), LOSS


@pytest.mark.long
@pytest.mark.parametrize("kind", ["virtual", "card"])
def test_every_stage_runs_and_agrees_with_the_cpu(
    kind: str, tiny_chain: Chain, tiny_view: DataView, calm_store: Store, small_chunks: None, tmp_path: Path
) -> None:
    with gpu(kind) as card:
        for node in tiny_chain.nodes:
            store = Store(tmp_path / node.label)
            chain = tiny_chain.upto(node.label)
            for source in chain.nodes[:-1]:
                shutil.copytree(calm_store.folder(source.key), store.folder(source.key))
            list(run_chain("t", chain, store, tiny_view, device="cuda", threads=1))
            here, there = store.get(node.key), calm_store.get(node.key)
            assert here is not None and there is not None
            assert here.record["files"].keys() == there.record["files"].keys()
            found, allowed = difference(here, there)
            assert found <= allowed, node.label
            if node.side == "gpu":
                assert here.record["device"] == here.record["gpu"]["card"] == torch.cuda.get_device_name()
            else:
                assert here.record["device"] == "cpu" and "gpu" not in here.record
            assert there.record["processor"] and "gpu" not in there.record
            if node.label in ("classifier", "cams", "walk", "segmenter"):
                assert here.record["gpu"]["amp"] in ("bfloat16", "float16")
                assert here.record["gpu"]["tf32"] is False
        if card is not None:
            assert card.counts["empty_cache"] >= sum(node.side == "gpu" for node in tiny_chain.nodes), (
                "a stage leaves its memory to the next"
            )


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_without_waiting_for_the_card(
    method: str, make: Make, calm_store: Store, tiny_chain: Chain, card: Card
) -> None:
    inputs = {"subcategories": calm_store.folder(tiny_chain["subcategories"].key)}
    extra = {name: {"weight": 0.1} for name in REGULARISERS.names()}
    stage = make("classifier", "cuda", inputs, method=method, **extra)
    steps = len(stage.batches)
    assert steps > 1
    stage.context = _without_holdout(stage.context)
    stage.step()
    before, paged = card.waits, card.counts["upload from pageable memory"]
    metrics = stage.step()
    assert card.waits - before <= steps, f"more than one wait a step: {card.places}"
    assert {f"loss/{name}" for name in extra} <= set(metrics)
    if method != "random_erasing":  # torchvision draws its noise on the CPU
        assert card.counts["upload from pageable memory"] == paged, card.places


@pytest.mark.parametrize("name", HIDINGS.names())
def test_every_way_to_hide_works_there(name: str, card: Card) -> None:
    params = classifier_params().model_validate({name: {"probability": 1.0}})
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) + 1
    here = Hider(params).hide(images, torch.Generator().manual_seed(3))
    there = Hider(params).hide(images.to("cuda"), torch.Generator().manual_seed(3))
    assert there.is_cuda and torch.equal(there.cpu(), here) and not torch.equal(here, images)


def _without_holdout(context: Context) -> Any:
    return SimpleNamespace(seed=context.seed, data=SimpleNamespace(holdout=(), has_masks=False))


@pytest.mark.parametrize("bf16", [True, False], ids=["bf16", "fp16"])
@pytest.mark.parametrize("name", TRAININGS)
def test_a_step_waits_for_the_card_at_most_once(name: str, bf16: bool, make: Make) -> None:
    with virtual_gpus(bf16=bf16) as card:
        stage = make(name, "cuda", grad_clip=1.0)
        if name == "classifier":
            stage.context = _without_holdout(stage.context)
        if name == "segmenter":  # it looks at the hold-out after an epoch
            stage.single.task = dataclasses.replace(stage.single.task, holdout=())
        training = stage.single.training if name == "segmenter" else stage.training
        assert training.scaler.is_enabled() != bf16
        batches = stage.single.batches if name == "segmenter" else stage.batches
        stage.step()
        before = card.waits
        stage.step()
        assert card.waits - before <= len(batches), card.places


@pytest.mark.parametrize("name", backbone_names())
def test_every_backbone_and_head_works_there(name: str, card: Card) -> None:
    x = torch.rand(1, 3, 64, 64).to("cuda")
    for head in HEADS.names():
        network = CamNetwork(create_backbone(name, "none"), 3, 2, head=head).to("cuda").eval()
        with torch.inference_mode():
            output = network(x)
            found = [output.logits, network.cam(x), network.sub_maps(output.features)]
        assert all(one.is_cuda and one.cpu().isfinite().all() for one in found)
    if can_be_dense(name):
        network = DeepLab(create_backbone(name, "none", dense=True), ["a"], (1.0, 0.5)).to("cuda")
        assert all(one.is_cuda for one in network(x))


def test_a_teacher_of_timms_works_there(card: Card) -> None:
    network = CamNetwork(create_backbone("timm/vit_tiny_patch16_224", "none"), 3).to("cuda").eval()
    with torch.inference_mode():
        assert network.cam(torch.rand(1, 3, 224, 224).to("cuda")).is_cuda


@pytest.mark.long
@pytest.mark.parametrize("way", ["cpu to bf16", "cpu to fp16", "fp16 to cpu", "fp16 to bf16", "bf16 to fp16"])
@pytest.mark.parametrize("name", TRAININGS)
def test_a_checkpoint_goes_on_on_any_device(name: str, way: str, make: Make, tmp_path: Path) -> None:
    more = {"patience": 2, "ema": 0.5} if name == "segmenter" else {}
    (state := tmp_path / "state").mkdir()
    first, _, then = way.split()

    def on(place: str, do: Callable[[Any], Any]) -> Any:
        if place == "cpu":
            return do(make(name, "cpu", **more))
        with virtual_gpus(bf16=place == "bf16"):
            return do(make(name, "cuda", **more))

    def begin(stage: Any) -> None:
        stage.step()
        stage.save(state)

    def go_on(stage: Any) -> tuple[dict[str, float], dict[str, torch.Tensor], Any]:
        stage.load(state, 1)
        metrics = stage.step()
        part = stage.single.training if name == "segmenter" else stage.training
        return (
            metrics,
            weights(stage, tmp_path / "out"),
            [group["fused"] for group in part.optimiser.param_groups],
        )

    on(first, begin)
    metrics, found, fused = on(then, go_on)
    assert all(np.isfinite(list(metrics.values()))) and all(one.isfinite().all() for one in found.values())
    assert set(fused) == ({None} if then == "cpu" else {True}), "how to compute is the device's own affair"


@pytest.mark.parametrize("way", [("cpu", "cuda"), ("cuda", "cpu")], ids=" to ".join)
def test_a_span_goes_on_from_another_devices_classifier(
    way: tuple[str, str], make: Make, tmp_path: Path
) -> None:
    """So does a population's member, which begins with a span."""
    (folder := tmp_path / "first").mkdir()
    for device, span in zip(way, [(0, 1), (1, 3)], strict=True):
        with virtual_gpus(bf16=False):
            stage = make("classifier", device, {"classifier": folder}, span=span)
            assert np.isfinite(stage.step()["loss"])
            if span[0] == 0:
                stage.finish(folder)


def test_features_of_equally_large_photos_are_made_together(
    tiny_view: DataView, tiny_chain: Chain, calm_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read by threads beside the card, and the same as those of one photo after the other on a CPU."""
    inputs = {"classifier": calm_store.folder(tiny_chain["classifier"].key)}
    together: dict[str, list[int]] = {"cpu": [], "cuda": []}
    found: dict[str, Any] = {}
    network = Features._network

    def noted(self: Features, batch: torch.Tensor) -> torch.Tensor:
        together[self.context.device].append(len(batch))
        return network(self, batch)

    for device in ("cpu", "cuda"):
        with contextlib.nullcontext() if device == "cpu" else virtual_gpus():
            (work := tmp_path / device).mkdir()
            stage = Features(Context(FeaturesParams(), inputs, tiny_view, 0, device, 3, work))
            monkeypatch.setattr(Features, "_network", noted)
            stage.step()
            monkeypatch.setattr(Features, "_network", network)
        found[device] = np.load(work / "00000.npy")
    count = len(found["cpu"])
    assert count > 1 and together["cpu"] == [1] * count, "a CPU's caches hold no more"
    assert sum(together["cuda"]) == count and max(together["cuda"]) > 1, together
    np.testing.assert_allclose(found["cuda"], found["cpu"], rtol=1e-4, atol=1e-5)


def rank_of(tiny_view: DataView, masks: Path, rank: int, workers: int = 2) -> SegmenterTraining:
    params = SegmenterParams.model_validate({**DENSE, "accumulate": 2})
    labels = PixelLabels(tiny_view.dataset, masks)
    task = Task(params, tiny_view.dataset, tiny_view.train, (), labels, 0, 2, "cuda")
    return SegmenterTraining(task, rank, workers)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_worker_keeps_to_its_own_card(
    rank: int, tiny_view: DataView, masks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes can't meet on virtual cards: what each would send is looked at instead."""
    shared: list[torch.device] = []

    class Wrapped(torch.nn.Module):
        def __init__(self, network: torch.nn.Module, device_ids: list[torch.device], **more: Any) -> None:
            super().__init__()
            assert device_ids == [torch.device("cuda", rank)]
            self.network = network

        def forward(self, x: torch.Tensor) -> Any:
            return self.network(x)

    monkeypatch.setattr(segmenter_training, "DistributedDataParallel", Wrapped)
    monkeypatch.setattr(segmenter_training.distributed, "all_reduce", lambda x: shared.append(x.device))
    monkeypatch.setattr(SegmenterTraining, "_summing", lambda self, last: torch.enable_grad())
    with virtual_gpus(gpus=2) as card:
        torch.cuda.set_device(rank)
        training = rank_of(tiny_view, masks, rank)
        before = card.waits
        assert np.isfinite(training.learn()["loss"])
        assert card.waits - before <= len(training.batches) + 1, "one wait a step, and one for the epoch"
        assert {parameter.device for parameter in training.network.parameters()} == {
            torch.device("cuda", rank)
        }
    assert set(shared) == {torch.device("cuda", rank)}


def test_a_forgotten_transfer_of_labels_is_found(
    make: Make, monkeypatch: pytest.MonkeyPatch, card: Card
) -> None:
    monkeypatch.setattr(classifier_module, "sent", lambda tensor, device: tensor)
    with pytest.raises(MixedDevices):
        make("classifier", "cuda").step()


def test_a_regulariser_with_a_tensor_of_its_own_on_the_cpu_is_found(
    make: Make, monkeypatch: pytest.MonkeyPatch, card: Card
) -> None:
    monkeypatch.setattr(
        losses, "_coordinates", lambda count, kind, like: torch.arange(count, dtype=torch.float32)
    )
    with pytest.raises(MixedDevices, match=r"losses.py"):
        make("classifier", "cuda", concentration={"weight": 0.1}).step()


def test_a_line_of_a_library_is_not_ours_in_a_clone_that_is_named_like_the_package() -> None:
    caller: dict[str, Any] = {}
    library = compile(
        "def call(f):\n    return f()", "/home/someone/wsss/.venv/lib/torch/eval_frame.py", "exec"
    )
    exec(library, caller)
    assert caller["call"](_line) == "?"
    ours: dict[str, Any] = {}
    exec(compile("def call(f):\n    return f()", str(PACKAGE / "methods" / "losses.py"), "exec"), ours)
    assert caller["call"](lambda: ours["call"](_line)) == "methods/losses.py:2"


def test_maps_that_were_not_fetched_are_found(monkeypatch: pytest.MonkeyPatch, card: Card) -> None:
    network = CamNetwork(create_backbone("mobilenet_v2", "none"), 2).to("cuda").eval()
    photo = np.zeros((32, 48, 3), np.uint8)

    def maps() -> Any:
        return cams.multi_scale_cams(
            network, [photo], [[0]], scales=[1.0], flip=True, size=None, device="cuda"
        )

    assert maps()[0].shape == (1, 32, 48)
    monkeypatch.setattr(cams, "_split", lambda found, lengths: [found.half().numpy()])
    with pytest.raises(TypeError, match="numpy"):
        maps()


def test_a_worker_on_its_neighbours_card_is_found(tiny_view: DataView, masks: Path) -> None:
    with virtual_gpus(gpus=2):
        training = rank_of(tiny_view, masks, 0, workers=1)
        training.batches.device = torch.device("cuda", 1)
        with pytest.raises(MixedDevices, match=r"cuda:0.*cuda:1"):
            training.learn()


def test_the_virtual_card_refuses_what_a_card_does() -> None:
    with virtual_gpus() as card:
        there, here = torch.ones(3, device="cuda"), torch.ones(3)
        for forgotten in (lambda: there + here, lambda: torch.stack([there, here]), lambda: there @ here):
            with pytest.raises(MixedDevices):
                forgotten()
        with pytest.raises(TypeError):
            np.asarray(there)
        with pytest.raises(RuntimeError, match="invalid device ordinal 1"):
            there.to("cuda:1")
        assert card.waits == 0 and there.sum().item() == 3.0 and card.waits == 1
        assert (there + torch.tensor(1.0)).cpu().tolist() == [2.0] * 3, "a number of the CPU is welcome"
    assert not torch.cuda.is_available()


@pytest.mark.parametrize("factor", [1.0, 1e-4, 1e6], ids=["plain", "tiny", "huge"])
def test_shares_of_gradients_that_float16_holds_not(factor: float) -> None:
    """Against float64: tiny gradients vanish in float16 unless they are scaled, huge ones overflow when they are."""
    torch.manual_seed(0)
    exact = torch.randn(2, 4, 3, 3, dtype=torch.float64)
    kernel = torch.randn(3, 4, 1, 1, dtype=torch.float64)

    def shares(features: torch.Tensor, scales: tuple[float, ...]) -> dict[str, float]:
        features = features.requires_grad_()
        maps = torch.nn.functional.conv2d(features, kernel.to(features.dtype))
        one = SimpleNamespace(weights={"large": 1.0, "small": factor})
        terms = {"large": maps[:, 0].double().mean(), "small": maps[:, 1:].double().pow(2).mean() * 1e-3}
        return objective.Objective.gradient_shares(one, terms, features, scales)  # type: ignore[arg-type]

    from wsss.stages.training.training import SCALES

    expected = shares(exact.clone(), (1.0,))
    found = shares(exact.half(), SCALES)
    assert found == pytest.approx(expected, rel=0.02)
    if factor == 1e-4:
        assert shares(exact.half(), (1.0,))["small"] == 0.0 < expected["small"], "what was reported before"


@pytest.mark.parametrize("name", TRAININGS)
def test_a_compiled_network_learns_the_same(
    name: str, make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With a compiler that translates nothing; off, which is the default, the key doesn't know of it."""
    compiled: list[type] = []

    def compile_(module: torch.nn.Module) -> None:
        compiled.append(type(module))
        module._compiled_call_impl = module._call_impl  # type: ignore[assignment]

    plain = make(name, "cpu")
    plain.step()
    monkeypatch.setattr(torch.nn.Module, "compile", compile_)
    other = make(name, "cpu", compile=True)
    assert len(compiled) == 1
    other.step()
    ours, theirs = weights(plain, tmp_path / "a"), weights(other, tmp_path / "b")
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert "compile" not in plain.params.content() and other.params.content()["compile"] is True
    assert (
        "tf32" not in other.params.content()
        and other.params.model_copy(update={"tf32": True}).content()["tf32"]
    )
