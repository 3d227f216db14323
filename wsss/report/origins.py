"""What the networks behind a row had learnt from before they saw the study's images, and from how many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from wsss.config.params.supervision import TIMM, UNKNOWN, label_of, names_masks, of_timm, ordered
from wsss.config.stage import STAGES, made_kind
from wsss.pipeline.chains.chain import scored_label
from wsss.report.comparison import Network
from wsss.store.artefact import Artefact
from wsss.store.folder_store import Store
from wsss.store.ledger import TrialRecord

IMAGENET = "imagenet"
RANDOM = "random"
SEGMENTER = "segmenter"
"""The kind of artefact that `predict` takes."""
COCO = "coco-segmentation"
"""What the record of a segmenter says whose initial weights have learnt from COCO's pixel masks."""


def networks_of(trials: Sequence[TrialRecord], store: Store) -> dict[str, Network]:
    """Return label → network of the trials' chains, as far as they were trained; records outlive files."""
    found: dict[str, Network] = {}
    for label, artefact in _trained(trials, store):
        params = artefact.record["params"]
        found.setdefault(label, Network(artefact.stage, str(params["backbone"]), _weights(artefact)))
    return found


def pixel_labels(
    networks: Mapping[str, Network],
    trials: Sequence[TrialRecord],
    store: Store,
    declared: Iterable[str] = (),
) -> tuple[str, ...]:
    """Return, in words, where networks of a chain have seen pixel labels; empty if they never have.

    Args:
        networks: of the chain.
        trials: of one configuration.
        store: where records are.
        declared: what the arm's `supervision` says.
    """
    named = [f"study declares {label}" for label in declared if names_masks([label])]
    coco = [
        f"{label} starts from COCO segmentation weights"
        for label, network in networks.items()
        if network.weights.startswith(COCO)
    ]
    masks = [
        f"{label} is trained on {_how_many(asked)}masks"
        for label, artefact in _made(trials, store)
        if names_masks(asked := artefact.record.get("params", {}).get("supervision"))
    ]
    timm = [
        f"{label} starts from weights that have learnt from masks"
        for label, network in networks.items()
        if network.backbone.startswith(TIMM)
        and network.weights != RANDOM
        and of_timm(network.backbone) == "masks"
    ]
    return tuple(dict.fromkeys([*coco, *timm, *masks, *named]))


def _how_many(supervision: Any) -> str:
    """Return "25 " for {masks: 25}; nothing where all masks teach."""
    count = label_of(supervision).partition(": ")[2] if isinstance(supervision, Mapping) else ""
    return f"{count} " if count else ""


def kind_of(artefact: Artefact) -> str:
    """Return the kind of an artefact: what its stage made with its parameters."""
    return made_kind(artefact.stage, artefact.record.get("params", {}))


def supervision_of(
    trials: Sequence[TrialRecord], store: Store, declared: Iterable[str] = ()
) -> tuple[str, ...]:
    """Return the kinds of labels that the trials' results rest on: those that their stages were taught with,
    those that initial weights had learnt from, and what a study declares.

    "unknown" stands among them when something came from elsewhere and no study declares its labels.

    Args:
        trials: of one configuration.
        store: where records are.
        declared: what the arm's `supervision` says.
    """
    found, given = set[str](), tuple(declared)
    for trial in trials:
        for key in trial.keys.values():
            artefact = store.known(key)
            if artefact is not None:
                found |= set(_labels(artefact))
    if given:
        found.discard(UNKNOWN)
    return ordered((*found, *given))


def _labels(artefact: Artefact) -> Iterator[str]:
    """Iterate over the kinds of labels that one artefact adds."""
    params = artefact.record.get("params", {})
    kind = STAGES.get(artefact.stage)
    own = None if kind is None else kind.supervision(params)
    yield from (UNKNOWN,) if own is None else own
    if "backbone" not in params:
        return
    if params.get("supervision") == "masks":
        yield "masks"
    elif kind is not None and kind.judged:
        yield "image"
    weights = _weights(artefact)
    source = weights.partition(" (")[0]
    backbone = str(params["backbone"])
    if source == COCO:
        yield from ("image", "masks")
    elif source == RANDOM:
        return
    elif source == "timm" or (backbone.startswith(TIMM) and "(file " not in weights):
        yield of_timm(backbone)
    elif source == IMAGENET:
        yield "image"
    else:
        yield UNKNOWN


def trained_on(trials: Sequence[TrialRecord], store: Store) -> int | None:
    """Return how many images the last classifier of the chain learnt from, None without one."""
    counts = [
        artefact.record["summary"].get("images")
        for _, artefact in _trained(trials[:1], store)
        if (kind := STAGES.get(artefact.stage)) is not None and kind.judged
    ]
    return counts[-1] if counts else None


def segments(trials: Sequence[TrialRecord], store: Store) -> bool:
    """Return whether a network was made that segments new photos."""
    return any(kind_of(artefact) == SEGMENTER for _, artefact in _made(trials[:1], store))


def trained_for(trials: Sequence[TrialRecord], store: Store) -> tuple[int, int]:
    """Return for how many epochs, and for how many updates, the networks of a trial were to be trained."""
    epochs = updates = 0
    counted: set[str] = set()
    for _, artefact in _made(trials[:1], store):
        kind = STAGES.get(artefact.stage)
        if kind is None or artefact.key in counted:
            continue
        counted.add(artefact.key)
        try:
            found = kind.trained(kind.model().model_validate(artefact.record.get("params", {})))
        except ValidationError:  # an earlier version's
            continue
        epochs, updates = epochs + found[0], updates + found[1]
    return epochs, updates


def made_elsewhere(trials: Sequence[TrialRecord], store: Store) -> tuple[str, ...]:
    """Return the labels of what other programs have made."""
    made = _made(trials, store)
    foreign = (label for label, artefact in made if (kind := STAGES.get(artefact.stage)) and kind.elsewhere)
    return tuple(dict.fromkeys(foreign))


def made_smaller(trials: Sequence[TrialRecord], store: Store) -> tuple[str, ...]:
    """Return, in words, which stages worked on smaller copies of photos, as their records say."""
    found: dict[str, None] = {}
    for label, artefact in _made(trials, store):
        summary = artefact.record.get("summary", {})
        for what, notes in ((label, summary), (f"{label}'s CRF", summary.get("crf"))):
            if isinstance(notes, Mapping) and notes.get("smaller"):
                found[_smaller(what, notes)] = None
    return tuple(found)


def _smaller(what: str, notes: Mapping[str, Any]) -> str:
    text = f"{what} saw {len(notes['smaller'])} photos as smaller copies"
    allowed = notes.get("free_memory_allowed_gib")
    return text if allowed is None else f"{text}, as only {allowed:g} GiB were free for it"


def processors_of(trials: Sequence[TrialRecord], store: Store) -> tuple[str, ...]:
    """Return the types of processor that made the trials' artefacts, as far as their records say."""
    made = (store.known(key) for trial in trials for key in trial.keys.values())
    named = (str(artefact.record.get("processor", "")) for artefact in made if artefact is not None)
    return tuple(dict.fromkeys(name for name in named if name))


def _trained(trials: Sequence[TrialRecord], store: Store) -> Iterator[tuple[str, Artefact]]:
    """Iterate over the labels and artefacts of networks: what has a backbone."""
    for label, artefact in _made(trials, store):
        if "backbone" in artefact.record.get("params", {}):
            yield label, artefact


def _made(trials: Sequence[TrialRecord], store: Store) -> Iterator[tuple[str, Artefact]]:
    """Iterate over the labels and artefacts of trials, without scores."""
    for trial in trials:
        for label, key in trial.keys.items():
            artefact = None if scored_label(label) else store.known(key)
            if artefact is not None:
                yield label, artefact


def _weights(artefact: Artefact) -> str:
    """Return what the initial weights had learnt from, as far as the stage noted or its parameters say, and
    where they came from."""
    params = artefact.record["params"]
    weights = str(params.get("weights", "unknown"))
    if weights == "none":
        return RANDOM
    noted = str(artefact.record["summary"].get("initial_weights", "")).partition(" (")[0].lower()
    if weights in ("package", "download"):
        timm = str(params["backbone"]).startswith(TIMM)
        return f"{noted or ('timm' if timm else IMAGENET)} ({weights})"
    return f"{noted or 'unknown'} (file {Path(weights).name})"
