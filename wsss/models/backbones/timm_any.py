"""Any network of timm's as a backbone, named `timm/NAME`: a teacher needs no taps, only features."""

from __future__ import annotations

import functools
import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from wsss.errors import ConfigError, Problem, nearest
from wsss.models.backbone import Backbone
from wsss.models.backbones.torchvision_cpu import timm
from wsss.models.kind import Tap
from wsss.models.kinds.timm_any import PREFIX
from wsss.models.pretrained.tensor_files import load_tensors
from wsss.models.pretrained.weights import fetch, stored_tensors


class TimmBackbone(Backbone):
    """The features before pooling, as a map: of a transformer its patch tokens, laid out as patches are.

    Made by `timm_backbone`, which reads channels, stride and statistics off the network.
    """

    model: ClassVar[str]
    default_freeze: ClassVar[str] = "none"

    def __init__(self) -> None:
        super().__init__()
        self.body = _create(self.model)

    def segments(self) -> list[nn.Module]:
        return [_Map(self.body)]

    def class_token(self, x: Tensor) -> Tensor:
        """Return the class token after the last normalisation, float32[B, channels]."""
        if not self.has_class_token:
            return super().class_token(x)
        tokens: Tensor = self.body.forward_features(x)
        return tokens[:, 0]

    def load_weights(self, weights: str) -> None:
        if weights == "download":
            tensors, source = fetch(self.name, lambda release: _create(release, pretrained=True))
        else:
            tensors, source = stored_tensors(self.name, weights)
        named = {f"body.{name}": tensor for name, tensor in tensors.items()}
        load_tensors(self, named, source, ignore=("body.head.", "body.fc.", "body.classifier."))


class _Map(nn.Module):
    """A timm network whose output is always float32[B, D, h, w]."""

    def __init__(self, body: Any) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.body.forward_features(x)
        if features.dim() == 4:
            # Some transformers keep channels last; the network says so.
            last = getattr(self.body, "output_fmt", "NCHW") == "NHWC"
            return features.permute(0, 3, 1, 2) if last else features
        patch = self.body.patch_embed.patch_size
        height, width = (math.ceil(side / size) for side, size in zip(x.shape[2:], patch, strict=True))
        patches = features[:, self.body.num_prefix_tokens :]
        return patches.transpose(1, 2).reshape(len(x), -1, height, width)


def _create(model: str, *, pretrained: bool = False) -> Any:
    transformer = "patch" in model
    more: dict[str, Any] = {"dynamic_img_size": True, "dynamic_img_pad": True} if transformer else {}
    return timm.create_model(model, pretrained=pretrained, num_classes=0, **more)


@functools.cache
def timm_backbone(name: str) -> type[TimmBackbone]:
    """Return the backbone class for `timm/NAME`. Raises `ConfigError` for a name timm doesn't have."""
    model = name.removeprefix(PREFIX)
    plain, _, tag = model.partition(".")
    if plain not in timm.list_models():
        # Names with a colon or a slash lead to hubs and folders: only those that timm itself lists are made.
        raise ConfigError(
            Problem("backbone", f"timm has no model {model!r}", nearest(model, timm.list_models()))
        )
    if model != plain and model not in (known := timm.list_pretrained(plain)):
        raise ConfigError(
            Problem("backbone", f"timm has no release {tag!r} of {plain}", nearest(model, known))
        )
    body = _create(model).eval()
    with torch.inference_mode():
        shape = _Map(body)(torch.zeros(1, 3, 224, 224)).shape
    config = body.pretrained_cfg
    stride = round(224 / shape[-1])
    return type(
        "TimmBackbone",
        (TimmBackbone,),
        {
            "name": name,
            "model": model,
            "channels": int(shape[1]),
            "stride": stride,
            "has_class_token": getattr(body, "cls_token", None) is not None,
            "taps": (Tap("features", int(shape[1]), stride),),
            "mean": tuple(config["mean"]),
            "std": tuple(config["std"]),
        },
    )
