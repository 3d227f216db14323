"""Kinds of labels that a result rests on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import PlainValidator, WithJsonSchema

from wsss.config.params.base import all_wrong, wrong
from wsss.errors import nearest, quoted

LABELS = {
    "image": "image-level labels",
    "image-21k": "labels of ImageNet-21k or more",
    "text": "image-text pairs",
    "self": "images alone",
    "saliency": "saliency maps, which learn from masks of what stands out",
    "points": "points",
    "scribbles": "scribbles",
    "boxes": "boxes",
    "masks": "pixel masks",
    "unknown": "nobody has said",
}
"""Name → what it means, roughly from the cheapest on."""
UNKNOWN = "unknown"
TIMM = "timm/"
_MASKS = ("sa1b", "samvit", "sam2")
_TEXT = (
    *("clip", "siglip", "laion", "openai", "dfn", "datacomp", "metaclip", "webli", "cc12m", "yfcc15m"),
    *("aimv2", "beitv2", "eva02", "eva_", "vit_pe_", "vitamin", "fb_pe"),
)
"""EVA and BEiT v2 learn to repeat features of CLIP."""
_SELF = ("dino", "mae", "moco", "simclr", "ijepa", "seer", "lvd")
_MORE = (
    *("in21k", "in22k", "21k", "22k", "12k", "jft", "ig1b", "swag", "ssl_", "swsl", "yfcc100m", "openimages"),
    *("plantclef", "inat"),
)


def label_problem(entry: Any) -> str:
    """Return what is wrong with an entry of `supervision`; empty when it is a name, or {masks: number}."""
    name, count = next(iter(entry.items())) if isinstance(entry, dict) and len(entry) == 1 else (entry, None)
    if not isinstance(name, str) or name not in LABELS or name == "unknown":
        return f"must be among {', '.join(known())} ({nearest(name, known())})"
    if isinstance(entry, dict) and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
        return f"`{name}` must have their number, a whole one from 1"
    return ""


def known() -> tuple[str, ...]:
    """Return the names that a study may declare."""
    return tuple(name for name in LABELS if name != "unknown")


def label_of(entry: Any) -> str:
    """Return an entry of `supervision` as one word or two: "image", "masks: 25"."""
    if isinstance(entry, dict):
        name, count = next(iter(entry.items()))
        return f"{name}: {count}"
    return str(entry)


def raw_label(label: str) -> Any:
    """Return a label as a study file has it."""
    name, _, count = label.partition(": ")
    return {name: int(count)} if count else name


def names_masks(entries: Any) -> bool:
    """Whether pixel masks are among entries of `supervision`, as written or as labels: all, or a number."""
    given = entries if isinstance(entries, list | tuple) else [entries]
    names = (next(iter(one), "") if isinstance(one, dict) else str(one) for one in given)
    return any(str(name).partition(": ")[0] == "masks" for name in names)


def ordered(labels: Iterable[str]) -> tuple[str, ...]:
    """Return labels in the order of `LABELS`, each once: "masks" includes "masks: 25"."""
    names = list(LABELS)
    found = set(labels)
    found = {label for label in found if ": " not in label or label.partition(": ")[0] not in found}
    return tuple(sorted(found, key=lambda label: (names.index(label.partition(": ")[0]), label)))


def parse_labels(raw: Any) -> tuple[str, ...]:
    """Return the kinds of labels that an arm's `supervision` declares: [image, text, {masks: 25}].

    Raises the errors of validators.
    """
    if raw is None:
        return ()
    entries = raw if isinstance(raw, list | tuple) else [raw]
    bad = {
        (number,): wrong(f"`supervision` names {quoted(entry)}, but {problem}")
        for number, entry in enumerate(entries)
        if (problem := label_problem(entry))
    }
    if bad:
        raise all_wrong(bad)
    return tuple(dict.fromkeys(label_of(entry) for entry in entries))


Labels = Annotated[
    tuple[str, ...],
    PlainValidator(parse_labels),
    WithJsonSchema({"anyOf": [{"type": "array"}, {"type": "string"}, {"type": "object"}, {"type": "null"}]}),
]


def of_timm(backbone: str) -> str:
    """Return what the weights of a network of timm's have learnt from, by its name: `timm/NAME.RELEASE`.

    Without a release, "unknown" where other words of the name don't tell: timm has one in mind that may have
    seen anything (`vit_base_patch16_224` has seen ImageNet-21k).

    Examples:
        >>> [of_timm(f"timm/{name}") for name in ("resnet50.tv_in1k", "samvit_base_patch16.sa1b", "resnet50")]
        ['image', 'masks', 'unknown']
    """
    name = backbone.lower()
    for words, label in ((_MASKS, "masks"), (_TEXT, "text"), (_SELF, "self"), (_MORE, "image-21k")):
        if any(word in name for word in words):
            return label
    return "image" if "1k" in name.partition(".")[2] else UNKNOWN
