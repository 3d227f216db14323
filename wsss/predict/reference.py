"""What `--model REF` stands for: a file, an artefact, or the segmenter that a trial trained."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from wsss.config.text.location import Location
from wsss.errors import ConfigError, PreflightError, Problem, WsssError, nearest
from wsss.files import read_json
from wsss.pipeline.past.stored import find_study
from wsss.predict.model import Model, load_artefact, load_file_model
from wsss.stages.training.segmentation_network import WEIGHTS
from wsss.store.folder_store import RECORD, Artefact, Store
from wsss.store.ledger import TrialRecord
from wsss.store.storage import Storage, open_storage
from wsss.tracking.location import tracking_uri

STAGE = "segmenter"
KEY = re.compile(r"[0-9a-f]{6,64}")
RUN = re.compile(r"[0-9a-f]{32}")
FILES = (".safetensors", ".pt2")


def load_model(reference: str, location: Location) -> Model:
    """Return the model that a reference stands for, on the CPU.

    It may be a .safetensors or .pt2 file; the folder of a segmenter artefact; its key, or at least six
    characters of it; the id of a trial, with "STUDY/" before it where studies share it; or the id of an
    MLflow run. Of a trial with several segmenters the last is meant. Raises `ConfigError`, naming the
    nearest, when nothing or more than one thing is meant, or when its files are gone.
    """
    path = Path(reference)
    if path.is_dir() and (path / WEIGHTS).is_file():
        record = read_json(path / RECORD)
        key = record.get("key") if isinstance(record, dict) else None
        return load_artefact(path, key if isinstance(key, str) else path.resolve().name)
    if path.is_file() or path.suffix in (*FILES, ".onnx"):
        if not path.exists():
            raise ConfigError(Problem("--model", f"there is no file {reference}"))
        return load_file_model(path)
    artefact = find_segmenter(reference, open_storage(location))
    return load_artefact(artefact.folder, artefact.key)


def find_segmenter(reference: str, storage: Storage) -> Artefact:
    """Return the segmenter that a key, a trial or an MLflow run leads to. Raises `ConfigError`."""
    if isinstance(storage.location, Path) and not storage.location.is_dir():
        hint = "give --storage FOLDER, or a file as --model"
        message = f"is {reference!r}, but there is no storage at {storage.location}"
        raise ConfigError(Problem("--model", message, hint))
    store = _store(storage)
    trials = list(_trials(storage))
    if store is not None:
        if KEY.fullmatch(reference):
            found = _by_key(reference, store)
            if found is not None:
                return found
        if trial := _by_id(reference, trials):
            return _of_trial(trial, store)
        if RUN.fullmatch(reference) and (trial := _by_run(reference, storage, trials)):
            return _of_trial(trial, store)
    message = f"is {reference!r}, but nothing in {storage.location} is called that"
    raise ConfigError(Problem("--model", message, _nearest(reference, store, trials)))


def _store(storage: Storage) -> Store | None:
    if isinstance(storage.location, Path) and not (storage.location / "store").is_dir():
        return None
    try:
        return storage.store
    except PreflightError:
        return None


def _trials(storage: Storage) -> Iterator[tuple[str, TrialRecord]]:
    for name in storage.study_names():
        for trial in storage.ledger(name).trials().values():
            yield name, trial


def _by_key(prefix: str, store: Store) -> Artefact | None:
    found = [artefact for artefact in store if artefact.key.startswith(prefix)]
    segmenters = [artefact for artefact in found if artefact.stage == STAGE]
    if len(segmenters) > 1:
        names = ", ".join(_short(artefact.key, segmenters) for artefact in segmenters[:5])
        raise ConfigError(Problem("--model", f"{prefix!r} is ambiguous", f"it could be {names}"))
    if segmenters:
        return _present(segmenters[0], store)
    if found:
        hint = _nearest(prefix, store, [])
        message = f"{prefix!r} is a {found[0].stage} artefact, but must be a {STAGE}"
        raise ConfigError(Problem("--model", message, hint))
    return None


def _short(key: str, others: Sequence[Artefact]) -> str:
    """Return the shortest part of a key that no other key begins with, at least twelve characters."""
    length = 12
    while length < len(key) and sum(other.key.startswith(key[:length]) for other in others) > 1:
        length += 1
    return key[:length]


def _by_id(reference: str, trials: Sequence[tuple[str, TrialRecord]]) -> tuple[str, TrialRecord] | None:
    found = [(study, trial) for study, trial in trials if reference in (trial.id, f"{study}/{trial.id}")]
    if len(found) > 1:
        names = ", ".join(f"{study}/{trial.id}" for study, trial in found)
        message = f"{reference!r} is a trial of several studies"
        raise ConfigError(Problem("--model", message, f"it could be {names}"))
    return found[0] if found else None


def _of_trial(found: tuple[str, TrialRecord], store: Store) -> Artefact:
    study, trial = found
    known = [store.known(key) for key in trial.keys.values()]
    segmenters = [artefact for artefact in known if artefact is not None and artefact.stage == STAGE]
    if not segmenters:
        message = f"trial {trial.id!r} of {study} ({trial.status}) has trained no {STAGE}"
        raise ConfigError(Problem("--model", message, f"its chain: {', '.join(trial.keys)}"))
    return _present(segmenters[-1], store, study)


def _present(artefact: Artefact, store: Store, study: str = "") -> Artefact:
    """Return the artefact if its files are there and are what was written. Raises `ConfigError`."""
    if artefact.evicted:
        message = f"the files of {artefact.key[:12]} were deleted to save space"
        hint = f"set `retain: all` and run {study or 'its study'} again"
        raise ConfigError(Problem("--model", message, hint))
    whole = store.get(artefact.key, thorough=True)
    if whole is None:
        message = f"the files of {artefact.key[:12]} were damaged, and have been set aside"
        raise ConfigError(Problem("--model", message, f"run {study or 'its study'} again"))
    return whole


def _by_run(
    run: str, storage: Storage, trials: Sequence[tuple[str, TrialRecord]]
) -> tuple[str, TrialRecord] | None:
    from wsss.tracking.lookup import find_run

    for uri in _tracking_uris(storage):
        found = find_run(uri, run)
        if found is None:
            continue
        study, trial = found
        if not trial:
            message = f"the MLflow run {run} is a whole sweep of {study}, but must be one of its trials"
            raise ConfigError(Problem("--model", message))
        for name, record in trials:
            if (name, record.id) == found:
                return name, record
        message = f"the MLflow run {run} is trial {trial!r} of {study}, which {storage.location} doesn't hold"
        raise ConfigError(Problem("--model", message, "give the --storage of that study"))
    return None


def _tracking_uris(storage: Storage) -> list[str]:
    """Return where the storage's studies are tracked, files that aren't there left out."""
    configured: list[str | None] = [None]
    for name in storage.study_names():
        try:
            study = find_study(name, storage.location)
        except WsssError:
            continue  # of another version, perhaps
        configured.append(study.tracking.uri)
    uris = dict.fromkeys(tracking_uri(uri, storage.location) for uri in configured)
    return [
        uri for uri in uris if not uri.startswith("sqlite:///") or Path(uri[len("sqlite:///") :]).is_file()
    ]


def _nearest(reference: str, store: Store | None, trials: Sequence[tuple[str, TrialRecord]]) -> str:
    """Return a hint: the segmenter or the trial with one that is most like a reference."""
    segmenters = [] if store is None else [artefact for artefact in store if artefact.stage == STAGE]
    if not segmenters:
        return f"there is no {STAGE} in this storage"
    keys = {artefact.key for artefact in segmenters}
    names = [trial.id for _, trial in trials if keys & set(trial.keys.values())]
    names += [_short(artefact.key, segmenters) for artefact in segmenters]
    hint = nearest(reference, names)
    return hint if hint.startswith("did you mean") else "choose from " + ", ".join(names[:8])
