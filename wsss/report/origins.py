"""What the networks behind a row had learnt from before they saw the study's images, and from how many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from wsss.config.params.supervision import TIMM, UNKNOWN, label_of, names_masks, of_timm, ordered
from wsss.config.stage import STAGES, made_kind
from wsss.pipeline.chains.chain import scored_label
from wsss.pipeline.past.tried import epochs_of
from wsss.report.comparison import Network
from wsss.store.artefact import Artefact
from wsss.store.folder_store import Store
from wsss.store.ledger import TrialRecord

IMAGENET = "imagenet"
OWN = "its own"
"""Weights that come with a network of another package."""
RANDOM = "random"
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
        f"{label} is trained on {_how_many(artefact.record.get('params', {}).get('supervision'))}masks"
        for label, artefact in _made(trials, store)
        if _is_taught_masks(artefact)
    ]
    others = [
        f"{label} starts from weights that have learnt from masks"
        for label, network in networks.items()
        if names_masks(_own_labels(network))
    ]
    return tuple(dict.fromkeys([*coco, *others, *masks, *named]))


def _is_taught_masks(artefact: Artefact) -> bool:
    """Whether an artefact's parameters name masks, or its stage says that it brings them in."""
    params, kind = artefact.record.get("params", {}), STAGES.get(artefact.stage)
    brought = None if kind is None else kind.supervision(params)
    return names_masks(params.get("supervision")) or names_masks(brought or ())


def _own_labels(network: Network) -> tuple[str, ...]:
    """Return the labels that weights have learnt from which come with a network of another package."""
    kind = STAGES.get(network.stage)
    if network.weights.startswith(OWN) and kind is not None:
        return kind.weights_rest_on(network.backbone) or ()
    timm = network.backbone.startswith(TIMM) and network.weights != RANDOM
    return (of_timm(network.backbone),) if timm else ()


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
    elif source == OWN and kind is not None:
        yield from kind.weights_rest_on(backbone) or (UNKNOWN,)
    else:
        yield UNKNOWN


def trained_on(trials: Sequence[TrialRecord], store: Store) -> int | None:
    """Return how many images the last classifier of the chain learnt from, None without one."""
    counts = [
        artefact.record["summary"].get("images")
        for _, artefact in _last(trials, store)
        if (kind := STAGES.get(artefact.stage)) is not None and kind.judged
    ]
    return counts[-1] if counts else None


def segments(trials: Sequence[TrialRecord], store: Store) -> bool:
    """Return whether a network was made that segments new photos."""
    kinds = (STAGES.get(kind_of(artefact)) for _, artefact in _made(trials[:1], store))
    return any(kind is not None and kind.segments for kind in kinds)


def trained_for(trials: Sequence[TrialRecord], store: Store) -> tuple[int, int]:
    """Return the epochs, and the updates of weights, that the study asks of a trial's networks."""
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


def really_trained_for(trials: Sequence[TrialRecord], store: Store) -> int:
    """Return for how many epochs the networks of a trial were trained, as their records tell."""
    made = {artefact.key: artefact for _, artefact in _made(trials[:1], store)}
    return sum(epochs_of(artefact.record) for artefact in made.values())


def means_of(trials: Sequence[TrialRecord], store: Store) -> dict[str, str]:
    """Return what the last stage of each kind of a trial spent besides epochs: "cams.scales" → "[0.5, 1]".

    A batch counts where updates do: epochs see as many photos in batches of any size.
    """
    found: dict[str, str] = {}
    for label, artefact in _last(trials, store):
        kind, params = STAGES.get(artefact.stage), artefact.record.get("params", {})
        for name in () if kind is None else kind.means:
            if name in params and (name != "batch" or params.get("iterations")):
                place = label if f"{artefact.stage}.{name}" in found else artefact.stage
                found[f"{place}.{name}"] = _spelt(params[name])
    images = trained_on(trials, store)
    return found if images is None else {**found, "training photos": str(images)}


def _last(trials: Sequence[TrialRecord], store: Store) -> list[tuple[str, Artefact]]:
    """Return the labels and artefacts of a trial from which no other of the same stage was made: its
    classifier, and not the teacher of that. The ledger doesn't keep the order of a chain."""
    made = list(_made(trials[:1], store))
    by_key = {artefact.key: artefact for _, artefact in made}
    below = {(artefact.stage, key) for _, artefact in made for key in _ancestors(artefact, by_key)}
    return [(label, artefact) for label, artefact in made if (artefact.stage, artefact.key) not in below]


def _ancestors(artefact: Artefact, by_key: Mapping[str, Artefact]) -> set[str]:
    found: set[str] = set()
    todo = [artefact]
    while todo:
        sources = todo.pop().record.get("inputs", {}).values()
        new = {source["key"] for source in sources} - found
        found |= new
        todo += [by_key[key] for key in new if key in by_key]
    return found


def _spelt(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_spelt, value))}]"
    if isinstance(value, Mapping):
        return "yes"
    return f"{value:g}" if type(value) is float else {None: "by default"}.get(value, str(value).lower())


def made_elsewhere(trials: Sequence[TrialRecord], store: Store) -> tuple[str, ...]:
    """Return the labels of what other programs have made."""
    found: dict[str, str] = {}
    for label, artefact in _made(trials, store):
        kind = STAGES.get(artefact.stage)
        if kind is not None and kind.elsewhere:
            changed = artefact.record.get("summary", {}).get("changed")
            found[label] = f"{label} (CHANGED {changed[0]}, which all its trials share)" if changed else label
    return tuple(found.values())


def made_once(trials: Sequence[TrialRecord], store: Store) -> tuple[str, ...]:
    """Return the labels of what other programs have made and is the same with each of several seeds: how much
    another training of it would differ, nobody knows."""
    found: dict[str, set[str]] = {}
    for trial in trials if len(trials) > 1 else ():
        for label, artefact in _made([trial], store):
            kind = STAGES.get(artefact.stage)
            if kind is not None and kind.elsewhere:
                found.setdefault(label, set()).add(artefact.digest)
    return tuple(label for label, digests in found.items() if len(digests) == 1)


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
        return f"{noted or _own_weights(artefact)} ({weights})"
    return f"{noted or 'unknown'} (file {Path(weights).name})"


def _own_weights(artefact: Artefact) -> str:
    """Return what the weights that come with a network are called."""
    backbone, kind = str(artefact.record["params"]["backbone"]), STAGES.get(artefact.stage)
    if backbone.startswith(TIMM):
        return "timm"
    return IMAGENET if kind is None or kind.weights_rest_on(backbone) == ("image",) else OWN
