"""What `--model REF` stands for: a file, an artefact, or the network that a trial trained."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from wsss.addresses import shown
from wsss.config.stage import made_kind
from wsss.config.text.location import Location
from wsss.errors import ConfigError, PreflightError, Problem, WsssError, nearest
from wsss.files import damaged_files, read_file, read_json
from wsss.pipeline.past.stored_studies import find_study
from wsss.predict.cam_model import CamModel
from wsss.predict.trained.model import Model, load_artefact, load_file_model
from wsss.predict.trained.model_folder import FILES as MODEL_FILES
from wsss.predict.trained.model_folder import SEGMENTER, is_registered, read_about
from wsss.predict.trained.registered import load_registered
from wsss.stages.kinds.training.files import SEGMENTER_ABOUT, SEGMENTER_WEIGHTS
from wsss.store.artefact import RECORD, Artefact
from wsss.store.folder_store import Store
from wsss.store.ledger import TrialRecord
from wsss.store.records import parse_record
from wsss.store.storage import Storage, open_storage
from wsss.tracking.location import database_file, tracking_uri

KEY = re.compile(r"[0-9a-f]{6,64}")
RUN = re.compile(r"[0-9a-f]{32}")
FILES = (".safetensors", ".pt2")
Found = tuple[str, TrialRecord]
"""A study's name, and a trial of it."""


@dataclass(frozen=True)
class Source:
    """Where a network lies: a file, the folder of an artefact and its key, or that of a registered model."""

    path: Path
    key: str = ""
    registered: bool = False
    downloaded: TemporaryDirectory[str] | None = None
    """The folder that it was downloaded to, which goes when this does."""

    def load(self) -> Model | CamModel:
        """Return the model, on the CPU. Raises `ConfigError` for what is none."""
        if self.registered:
            return load_registered(self.path)
        return load_artefact(self.path, self.key) if self.key else load_file_model(self.path)

    @property
    def files(self) -> tuple[Path, Path] | None:
        """Its weights and the JSON that says what they are; None for a program."""
        if self.registered:
            weights, beside = MODEL_FILES[read_about(self.path).stage]
            return self.path / weights, self.path / beside
        if self.key:
            return self.path / SEGMENTER_WEIGHTS, self.path / SEGMENTER_ABOUT
        return (self.path, self.path.with_suffix(".json")) if self.path.suffix == ".safetensors" else None

    @property
    def record(self) -> dict[str, Any]:
        """The record of the artefact; empty for a file."""
        found = read_json(self.path / RECORD) if self.key else None
        return found if isinstance(found, dict) else {}


def load_model(reference: str, location: Location) -> Model | CamModel:
    """Return the model that a reference stands for, on the CPU; see `find_source`."""
    return find_source(reference, location).load()


def find_source(reference: str, location: Location) -> Source:
    """Return where the network lies that a reference stands for.

    It may be a .safetensors or .pt2 file; the folder of a segmenter artefact or of a registered model; its
    key, or at least six characters of it; the id of a trial, with "STUDY/" before it where studies share it;
    the id of an MLflow run; or a model of MLflow's registry, as "models:/STUDY@champion". Of a trial with
    several segmenters the last is meant. Raises `ConfigError`, naming the nearest, when nothing or more than
    one thing is meant, or when its files are gone.
    """
    if reference.startswith("models:"):
        downloaded = TemporaryDirectory()
        folder = registered_folder(reference, open_storage(location), Path(downloaded.name))
        return Source(folder, registered=True, downloaded=downloaded)
    path = Path(reference)
    if path.is_dir() and is_registered(path):
        return Source(path, registered=True)
    if path.is_dir() and (path / SEGMENTER_WEIGHTS).is_file():
        record = record_of(path, (SEGMENTER_WEIGHTS, SEGMENTER_ABOUT))
        return Source(path, record.get("key") or path.resolve().name)
    if path.is_file() or path.suffix in (*FILES, ".onnx"):
        if not path.is_file():
            message = f"{reference} is no file" if path.exists() else f"there is no file {reference}"
            raise ConfigError(Problem("--model", message))
        record_of(path.parent, (path.name, path.with_suffix(".json").name))
        return Source(path)
    if path.is_dir() and (path / RECORD).is_file():
        stage = record_of(path).get("stage", "unknown")
        raise ConfigError(Problem("--model", f"{reference} is a {stage} artefact, but must be a {SEGMENTER}"))
    artefact = find_network(reference, open_storage(location))
    return Source(artefact.folder, artefact.key)


def record_of(folder: Path, files: Sequence[str] = ()) -> dict[str, Any]:
    """Return the record of an artefact's folder, empty where there is none.

    Raises `ConfigError` when those of `files` that it describes are no longer what was written.
    """
    try:
        content = read_file(folder / RECORD)
    except (OSError, ValueError):
        return {}
    try:
        record = parse_record(content)
    except ValueError as error:
        raise ConfigError(Problem(str(folder / RECORD), f"can't be used: {error}")) from error
    described = {name: facts for name, facts in record["files"].items() if name in files}
    if bad := damaged_files(folder, described, thorough=True):
        hint = "give --model its trial or its key: running its study again makes it anew"
        problems = [Problem(str(folder / name), "is not what was written", hint) for name in bad]
        raise ConfigError(problems)
    return record


def find_network(
    reference: str, storage: Storage, stage: str = SEGMENTER, *, where: str = "--model"
) -> Artefact:
    """Return the artefact of a network that a key, a trial or an MLflow run leads to.

    Args:
        reference: a key or its beginning, `TRIAL`, `STUDY/TRIAL`, or the id of an MLflow run.
        storage: where to look.
        stage: the stage that trains such networks.
        where: what messages call the reference.

    Raises `ConfigError`, naming the nearest, when nothing or more than one thing is meant.
    """
    if isinstance(storage.location, Path) and not storage.location.is_dir():
        message = f"is {reference!r}, but there is no storage at {storage.location}"
        raise ConfigError(Problem(where, message, "give --storage FOLDER, or a file as --model"))
    search = _Search(storage, stage, where)
    found = search.artefact(reference)
    if found is None:
        message = f"is {reference!r}, but nothing in {storage.location} is called that"
        if reference in storage.study_names():
            message = f"is {reference!r}, a study, but must be one of its trials or its champion"
        raise ConfigError(Problem(where, message, search.nearest(reference)))
    return found


def registered_folder(reference: str, storage: Storage, into: Path, *, where: str = "--model") -> Path:
    """Return the folder of a registered model in the MLflow of a storage's studies, or in the one that
    MLFLOW_TRACKING_URI names.

    Args:
        reference: as "models:/STUDY@champion", "models:/STUDY/3" or "models:/STUDY".
        storage: whose studies are tracked there.
        into: a folder that files from a server are downloaded to.
        where: what messages call the reference.

    Raises `ConfigError`, naming the nearest, when there is none.
    """
    from wsss.tracking.lookup import MODEL, find_model, model_names

    if not MODEL.fullmatch(reference):
        message = f"is {reference!r}, which names no registered model"
        raise ConfigError(Problem(where, message, "models:/STUDY@champion, or models:/STUDY/1"))
    uris = list(_Search(storage, SEGMENTER, where).tracking_uris())
    for uri in uris:
        folder = find_model(uri, reference, into, where)
        if folder is not None:
            return folder
    known = [f"models:/{name}@champion" for uri in uris for name in model_names(uri)]
    places = ", ".join(shown(uri) for uri in uris) or f"the MLflow of {storage.location}"
    hint = nearest(reference, known) if known else "a study registers its winner when it ends"
    raise ConfigError(Problem(where, f"is {reference!r}, but no model of {places} is called that", hint))


@dataclass(frozen=True)
class _Search:
    """A look through one storage for networks of one kind."""

    storage: Storage
    stage: str
    where: str

    @cached_property
    def store(self) -> Store | None:
        location = self.storage.location
        if isinstance(location, Path) and not (location / "store").is_dir():
            return None
        try:
            return self.storage.store
        except PreflightError:
            return None

    @cached_property
    def trials(self) -> list[Found]:
        names = self.storage.study_names()
        return [(name, trial) for name in names for trial in self.storage.ledger(name).trials().values()]

    def artefact(self, reference: str) -> Artefact | None:
        """Return what a reference leads to; None if it leads nowhere."""
        if self.store is None:
            return None
        if KEY.fullmatch(reference):
            found = self._by_key(reference, self.store)
            if found is not None:
                return found
        if trial := self._by_id(reference):
            return self._of_trial(trial, self.store)
        if RUN.fullmatch(reference) and (trial := self._by_run(reference)):
            return self._of_trial(trial, self.store)
        return None

    def _is_one(self, artefact: Artefact) -> bool:
        """Whether an artefact is a network of the kind, whichever stage has made it."""
        return made_kind(artefact.stage, artefact.record.get("params", {})) == self.stage

    def nearest(self, reference: str) -> str:
        """Return a hint: the network or the trial with one that is most like a reference."""
        networks = [one for one in self.store or () if self._is_one(one)]
        if not networks:
            return f"there is no {self.stage} in this storage"
        keys = {artefact.key for artefact in networks}
        holders = [(study, trial.id) for study, trial in self.trials if keys & set(trial.keys.values())]
        if reference in self.storage.study_names():
            own = [f"{study}/{trial}" for study, trial in holders if study == reference]
            return "choose from " + ", ".join(own[:8]) if own else f"it has trained no {self.stage}"
        names = [trial for _, trial in holders]
        names += [_short(artefact.key, networks) for artefact in networks]
        hint = nearest(reference, names)
        return hint if hint.startswith("did you mean") else "choose from " + ", ".join(names[:8])

    def _by_key(self, prefix: str, store: Store) -> Artefact | None:
        found = [artefact for artefact in store if artefact.key.startswith(prefix)]
        networks = [artefact for artefact in found if self._is_one(artefact)]
        if len(networks) > 1:
            names = ", ".join(_short(artefact.key, networks) for artefact in networks[:5])
            raise self._error(f"{prefix!r} is ambiguous", f"it could be {names}")
        if networks:
            return self._present(networks[0], store)
        if found:
            message = f"{prefix!r} is a {found[0].stage} artefact, but must be a {self.stage}"
            raise self._error(message, self.nearest(prefix))
        return None

    def _by_id(self, reference: str) -> Found | None:
        found = [one for one in self.trials if reference in (one[1].id, f"{one[0]}/{one[1].id}")]
        if len(found) > 1:
            names = ", ".join(f"{study}/{trial.id}" for study, trial in found)
            raise self._error(f"{reference!r} is a trial of several studies", f"it could be {names}")
        return found[0] if found else None

    def _by_run(self, run: str) -> Found | None:
        from wsss.tracking.lookup import find_run

        for uri in self.tracking_uris():
            found = find_run(uri, run)
            if found is None:
                continue
            study, trial = found
            if not trial:
                message = f"the MLflow run {run} is a whole sweep of {study}, but must be one of its trials"
                raise self._error(message)
            for name, record in self.trials:
                if (name, record.id) == found:
                    return name, record
            what = f"trial {trial!r} of {study}, which {self.storage.location} doesn't hold"
            raise self._error(f"the MLflow run {run} is {what}", "give the --storage of that study")
        return None

    def tracking_uris(self) -> Iterator[str]:
        """Iterate over where the storage's studies are tracked, files that aren't there left out."""
        configured: list[str | None] = [None]
        for name in self.storage.study_names():
            try:
                study = find_study(name, self.storage.location)
            except WsssError:
                continue  # of another version, perhaps
            configured.append(study.tracking.uri)
        for uri in dict.fromkeys(tracking_uri(uri, self.storage.location) for uri in configured):
            file = database_file(uri)
            if file is None or file.is_file():
                yield uri

    def _of_trial(self, found: Found, store: Store) -> Artefact:
        study, trial = found
        known = [store.known(key) for key in trial.keys.values()]
        networks = [one for one in known if one is not None and self._is_one(one)]
        if not networks:
            message = f"trial {trial.id!r} of {study} ({trial.status}) has trained no {self.stage}"
            raise self._error(message, f"its chain: {', '.join(trial.keys)}")
        return self._present(networks[-1], store, study)

    def _present(self, artefact: Artefact, store: Store, study: str = "") -> Artefact:
        """Return the artefact if its files are there and are what was written."""
        again = f"run {study or 'its study'} again"
        if artefact.evicted:
            message = f"the files of {artefact.key[:12]} were deleted to save space"
            raise self._error(message, f"set `retain: all` and {again}")
        whole = store.get(artefact.key, thorough=True)
        if whole is None:
            raise self._error(
                f"the files of {artefact.key[:12]} were damaged, and have been set aside", again
            )
        return whole

    def _error(self, message: str, hint: str = "") -> ConfigError:
        return ConfigError(Problem(self.where, message, hint))


def _short(key: str, others: Sequence[Artefact]) -> str:
    """Return the shortest part of a key that no other key begins with, at least twelve characters."""
    length = 12
    while length < len(key) and sum(other.key.startswith(key[:length]) for other in others) > 1:
        length += 1
    return key[:length]
