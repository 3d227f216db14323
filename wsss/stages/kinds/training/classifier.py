"""The facts of stage `classifier`: a network that learns image-level labels, from which CAMs are made."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wsss.config.naming import HOLDOUT_MAP, HOLDOUT_SIZE
from wsss.config.params.methods import METHODS, expand_method
from wsss.config.params.stages import ClassifierParams, Params, RungParams, classifier_params
from wsss.config.parts import REGULARISERS
from wsss.config.stage import SMALL_NETWORK, STAGES, StageKind
from wsss.errors import ConfigError, Problem, nearest
from wsss.models.kind import CONVOLUTION, backbone_class, freeze_problem, weights_rest_on
from wsss.models.pretrained.weights import weights_identity
from wsss.stages.kinds.training.files import CLASSIFIER_WEIGHTS
from wsss.stages.step_metrics import MAP, MAP_SIZE

if TYPE_CHECKING:
    from wsss.data.view import DataView


@STAGES.register
class Classifier(StageKind[ClassifierParams]):
    name = "classifier"
    params = ClassifierParams
    work = "wsss.stages.training.classifier:Classifier"
    seeded = True
    grows = ""
    judged = True
    ranks = HOLDOUT_MAP
    needs = ("subcategories", "classifier")
    paths = ("weights",)

    @classmethod
    def model(cls) -> type[ClassifierParams]:
        return classifier_params()

    @classmethod
    def expand(cls, raw: Mapping[str, Any]) -> dict[str, Any]:
        return expand_method(raw)

    @classmethod
    def words(cls) -> dict[str, tuple[str, ...]]:
        return {"method": tuple(METHODS)}

    @classmethod
    def known_as(cls, params: ClassifierParams) -> tuple[str, str]:
        return params.method_name, params.backbone

    @classmethod
    def reads(cls, params: ClassifierParams) -> tuple[str, ...]:
        needed = ("subcategories",) if params.subcategory_weight else ()
        return (*needed, "classifier") if params.begin else needed

    @classmethod
    def supervision(cls, params: Mapping[str, Any]) -> tuple[str, ...] | None:
        """Return the labels that regularisers bring in, those whose weight isn't 0."""
        used = [one for one in REGULARISERS.values() if (params.get(one.name) or {}).get("weight")]
        return tuple(dict.fromkeys(label for one in used for label in one.rests_on))

    @classmethod
    def weights_rest_on(cls, backbone: str) -> tuple[str, ...] | None:
        return weights_rest_on(backbone)

    @classmethod
    def revision(cls, params: ClassifierParams, sources: Mapping[str, Params]) -> int:
        """1 where depthwise convolutions learn: their gradients are now summed in another order."""
        return int(params.freeze != "all" and backbone_class(params.backbone).depthwise)

    @classmethod
    def consumes(cls, params: ClassifierParams, data: DataView) -> Mapping[str, str]:
        check_taps(params)
        check_head(params)
        if params.head == "weights":
            from wsss.stages.training.network import head_of_weights  # reads tensors

            head_of_weights(params, data.dataset.classes)
        quick = rung_ids(data, params.rung)
        masks = {"masks": data.mask_key(data.train)} if params.supervision == "masks" else {}
        return {
            **masks,
            **_holdout_size(params, data),
            "train": data.image_key(data.train),
            "holdout": data.image_key(data.holdout),
            "rung": data.mask_key(quick) if quick else "",
            "weights": weights_identity(params.backbone, params.weights),
        }

    @classmethod
    def mutable(cls) -> tuple[str, ...]:
        weights = [f"{name}.weight" for name in cls.model()().regularisers]
        return ("lr", "weight_decay", *weights, "distillation.weight")

    @classmethod
    def small(cls, raw: Mapping[str, Any]) -> dict[str, Any]:
        freeze = "all" if raw.get("method") == "probe" else "default"
        params = {**raw, **SMALL_NETWORK, "freeze": freeze, "rung": {"images": 4}}
        params.pop("head", None)  # the smallest backbone has no published one
        params.pop("span", None)  # one epoch has no parts
        if "taps" in params.get("mixing", {}):
            params["mixing"] = {**params["mixing"], "taps": "all"}  # other backbones, other taps
        return params

    @classmethod
    def results(cls, record: Mapping[str, Any]) -> dict[str, float]:
        last = record["history"][-1:]
        if not _is_last_part(record["params"]) or not last or MAP not in last[0]:
            return {}
        # Records without a size are of versions that measured at the size of the crops.
        size = last[0].get(MAP_SIZE, float(record["params"]["crop"]))
        return {HOLDOUT_MAP: last[0][MAP], HOLDOUT_SIZE: size}

    @classmethod
    def shown(cls, record: Mapping[str, Any]) -> dict[str, str]:
        return {".safetensors": CLASSIFIER_WEIGHTS} if _is_last_part(record["params"]) else {}

    @classmethod
    def passes(cls, params: ClassifierParams, facts: Mapping[str, Any]) -> float:
        return float(max(1, params.end - params.begin))

    @classmethod
    def trained(cls, params: ClassifierParams) -> tuple[int, int]:
        return params.end - params.begin, 0

    @classmethod
    def alike(cls, params: ClassifierParams) -> tuple[Any, ...]:
        return (params.freeze, params.supervision)


def _is_last_part(params: Mapping[str, Any]) -> bool:
    """Whether a classifier is trained to its end, and not the part of one that a population goes on from."""
    span = params.get("span")
    return not span or span[1] == params["epochs"]


def _holdout_size(params: ClassifierParams, data: DataView) -> Mapping[str, str]:
    """Return the size at which mAP is measured, where the size matters: without masks, mAP ranks trials.

    Older versions measured at `crop`. With masks mAP decides nothing, so that keys need not change.
    """
    decides = data.holdout and not data.has_masks and params.middle != params.crop
    return {"holdout_size": str(params.middle)} if decides else {}


def check_taps(params: ClassifierParams) -> None:
    """Raise `ConfigError` when `freeze` or `mixing.taps` name a tap that the backbone doesn't have."""
    kind = backbone_class(params.backbone)
    names = [tap.name for tap in kind.taps]
    problem = freeze_problem(kind, params.freeze)
    problems = [] if problem is None else [problem]
    for name in () if params.mixing.taps == "all" else params.mixing.taps:
        if name not in ("input", *names):
            message = f"{params.backbone} has no tap {name!r}"
            problems.append(Problem("mixing.taps", message, nearest(name, ["input", *names])))
    if problems:
        raise ConfigError(problems)


def check_head(params: ClassifierParams) -> None:
    """Raise `ConfigError` for an unknown class head, and for one that no published classifier has."""
    own = backbone_class(params.backbone).head
    name = own if params.class_maps == "backbone" else params.class_maps
    if name != CONVOLUTION:
        from wsss.models.head import HEADS  # heads are networks, which need torch

        if name not in HEADS:
            choices = ["backbone", *HEADS.names()]
            raise ConfigError(Problem("class_maps", f"there is no head {name!r}", nearest(name, choices)))
    if params.head == "weights" and name != CONVOLUTION:
        message = f"`weights` is a published convolution, but class maps are made by {name!r}"
        raise ConfigError(Problem("head", message, "`class_maps: convolution`"))


def rung_ids(data: DataView, rung: RungParams) -> tuple[str, ...]:
    """Return the `select` images of the quick score: the first by the SHA-256 of their ids."""
    if not data.has_masks:
        return ()
    return tuple(sorted(data.select, key=lambda id: hashlib.sha256(id.encode()).digest())[: rung.images])
