"""What may stand in the small JSON files of a storage: records, manifests, leases, lines of ledgers.

Everything that comes back from a storage passes here before it is used. What isn't as this program, in this
version or an earlier one, has written it raises `ValueError` with a reason of one line: its reader says so
once and goes on as if it were missing. Keys that are not known here pass.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from wsss.config.search import Scalar
from wsss.files import parse_json, without_checksum

log = logging.getLogger("wsss")
_said: set[tuple[str, str]] = set()


def say_once(where: str, what: str) -> None:
    """Warn of something that has been passed over; a process says it once."""
    if (where, what) not in _said:
        _said.add((where, what))
        log.warning("%s: %s", where, what)


def _below(name: str) -> str:
    """Accept the name of a file below a folder: such files are read, and deleted."""
    if "\0" in name or not all(part not in ("", ".", "..") for part in name.split("/")):
        raise ValueError("names no file below the folder")
    return name


FileName = Annotated[str, AfterValidator(_below)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^/\x00]+$")]
"""A key, or an owner: it becomes the name of a file."""
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Word = Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""What is shown to people as it is."""
Seconds = Annotated[float, Field(ge=0)]


class _Stored(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", frozen=True)


class FileFacts(_Stored):
    bytes: Count
    sha256: Digest


class Source(_Stored):
    """What an artefact was made from."""

    key: Name
    digest: str


class WorkFacts(_Stored):
    images: Count
    pixels: float
    backbone: str


class Record(_Stored):
    """artefact.json. Defaults are for records of versions that did not write them yet."""

    stage: Annotated[str, StringConstraints(pattern=r"^[\w.-]{1,100}$")]
    files: dict[FileName, FileFacts]
    key: Name | None = None
    inputs: dict[str, Source] = {}
    seconds: Seconds = 0.0
    params: dict[str, Any] = {}
    history: list[dict[str, float]] = []
    times: list[int] = []
    summary: dict[str, Any] = {}
    device: str = "cpu"
    processor: Annotated[str, StringConstraints(max_length=1000)] = ""
    threads: int = 1
    work: WorkFacts | None = None


class Manifest(_Stored):
    """manifest.json of a checkpoint; `work`, on an object storage, the chunks that belong to it."""

    step: Count
    about: dict[str, Any]
    files: dict[FileName, FileFacts]
    work: dict[FileName, FileFacts] = {}


class CheckpointFacts(_Stored):
    """What a chain notes in a manifest: the digests of inputs, the metrics and seconds so far."""

    inputs: dict[str, str]
    history: list[dict[str, float]]
    seconds: Seconds
    times: list[int] = []


class LeaseNote(_Stored):
    """Who holds a lease. That of another version may say less, but names no other process."""

    owner: Annotated[Name, StringConstraints(pattern=r"^[\w.-]+$", max_length=100)]
    host: str
    pid: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    started: float | None = None
    beat: int = 0
    inputs: list[str] = []


class PopulationPart(_Stored):
    """What a population decided of one part of a member's classifier."""

    epoch: Count
    params: dict[Word, Scalar]
    parent: Word


class TrialEntry(_Stored):
    id: Word
    sweep: Word
    arm: Word
    seed: int
    params: dict[Word, Scalar]
    configuration: Word
    upstream: Word
    method: Word
    backbone: Word
    keys: dict[Word, Name]
    history: list[PopulationPart] = []


class EndEntry(_Stored):
    id: Word
    status: Literal["done", "failed", "stopped"]
    metrics: dict[Word, float]
    error: str = ""
    seconds: float = 0.0
    reason: str = ""
    rungs: list[Annotated[list[float], Field(min_length=2, max_length=2)]] = []


class KeptEntry(_Stored):
    sweep: Word
    ids: list[Word]
    keys: list[Name]


class MadeEntry(_Stored):
    key: Name
    bytes: Count


class RunEntry(_Stored):
    id: Word
    seconds: Seconds
    gpu_seconds: Seconds
    trials: list[Word]


ENTRIES: Mapping[str, type[_Stored]] = {
    "trial": TrialEntry,
    "end": EndEntry,
    "kept": KeptEntry,
    "made": MadeEntry,
    "run": RunEntry,
}
"""What the ledger's entries that are read must hold, by their type; of other types anything may."""


def checked(model: type[_Stored], content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping with the defaults of what it lacks. Raises `ValueError`, in one line."""
    try:
        found = model.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part)[:60] for part in first["loc"][:4])
        raise ValueError(f"{where}: {first['msg'][:120]}" if where else first["msg"][:120]) from error
    lacking = model.model_fields.keys() - content.keys()
    defaults = {name: getattr(found, name) for name in lacking}
    return {**{name: value for name, value in defaults.items() if value is not None}, **content}


def parse_record(content: bytes, key: str | None = None) -> dict[str, Any]:
    """Return an artefact's record. Raises `ValueError`, also for that of another key than the one given."""
    record = checked(Record, without_checksum(parse_json(content)))
    if key is not None and record.get("key", key) != key:
        raise ValueError(f"is the record of {record['key'][:12]}")
    return record


def parse_manifest(content: bytes) -> dict[str, Any]:
    """Return a checkpoint's manifest. Raises `ValueError`."""
    return checked(Manifest, without_checksum(parse_json(content)))


def parse_lease(content: bytes) -> dict[str, Any]:
    """Return what a lease says, nothing when it can't be read: it is waited for like any other."""
    try:
        return checked(LeaseNote, without_checksum(parse_json(content)))
    except ValueError:
        return {}


def parse_entry(line: bytes) -> dict[str, Any]:
    """Return an entry of a ledger. Raises `ValueError`."""
    entry = without_checksum(parse_json(line))
    kind = entry.get("type")
    if not isinstance(kind, str):
        raise ValueError("has no type")
    model = ENTRIES.get(kind)
    return entry if model is None else checked(model, entry)
