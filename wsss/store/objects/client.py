"""Objects below one address, through obstore: read, created, replaced, listed, deleted.

An object appears whole or not at all, and a conditional put decides between writers: `create` succeeds for
the first one, `replace` for the one who saw the newest version. obstore tries again when a request fails.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from wsss.errors import PreflightError, Problem, StorageError, first_line, nearest

if TYPE_CHECKING:
    from obstore.store import ObjectStore

TRIES = 3
PAUSE = 0.5
"""Seconds before the second try; doubled before each further one."""
PATIENCE = 60.0
"""Seconds after which a request is not tried again."""
PARALLEL = 16
PART = 8 * 1024**2
OPTIONS = ("endpoint", "endpoint_override", "scheme", "region")
"""What may follow `?` in an address. `endpoint_override=HOST:PORT&scheme=http` is `endpoint=http://HOST:PORT`."""
Result = TypeVar("Result")


@dataclass(frozen=True)
class Object:
    """A listed object. `name` is relative to the address; `version` changes with every write."""

    name: str
    bytes: int
    version: str


@dataclass(frozen=True)
class Content:
    """A small object's bytes, and the version that they are of."""

    bytes: bytes
    version: str


class Objects:
    """What is below `uri`. Raises `PreflightError` for an address that can't be used.

    Every method raises `StorageError`, naming the object's address, when the storage doesn't answer
    `tries` times in a row.

    Args:
        uri: an address such as "s3://bucket/prefix", with options after `?` (see `OPTIONS`).
        tries: requests before giving up, at least 1.
        pause: seconds before the second try.
    """

    def __init__(self, uri: str, *, tries: int = TRIES, pause: float = PAUSE) -> None:
        self.uri = uri
        self._tries = tries
        self._store = _open(uri, tries, pause)

    def address(self, name: str) -> str:
        """Return the address of an object, as people write it."""
        return f"{self.uri.partition('?')[0]}/{name}"

    @contextmanager
    def _asking(self, what: str, name: str) -> Iterator[None]:
        """Turn obstore's errors into `StorageError`; let pass those that are answers."""
        from obstore import exceptions as answers

        try:
            yield
        except (answers.AlreadyExistsError, answers.PreconditionError, FileNotFoundError):
            raise
        except (answers.BaseError, OSError) as error:
            message = f"can't be {what}: {first_line(error)} ({self._tries} tries)"
            hint = "everything finished is kept; `resume` when the storage answers"
            raise StorageError(Problem(self.address(name), message, hint)) from error

    def get(self, name: str) -> Content | None:
        """Return a small object, None if there is none."""
        import obstore

        try:
            with self._asking("read", name):
                found = obstore.get(self._store, name)
                return Content(bytes(found.bytes()), str(found.meta["e_tag"]))
        except FileNotFoundError:
            return None

    def read(self, name: str) -> bytes | None:
        """Return an object's bytes, None if there is none."""
        found = self.get(name)
        return None if found is None else found.bytes

    def create(self, name: str, content: bytes) -> str | None:
        """Write an object that must not exist yet; return its version, None if another writer was first."""
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            return self._put(name, content, "create")
        except (AlreadyExistsError, PreconditionError):
            return self._mine_after_all(name, content)

    def replace(self, name: str, content: bytes, version: str) -> str | None:
        """Write over the version of an object that was read; return the new one, None if it has changed."""
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            return self._put(name, content, {"e_tag": version})
        except (AlreadyExistsError, PreconditionError, FileNotFoundError):
            return self._mine_after_all(name, content)

    def _mine_after_all(self, name: str, content: bytes) -> str | None:
        """Return the version if the object holds this content: a try succeeded, and its answer was lost.

        The content of every conditional write holds something of its writer's own.
        """
        found = self.get(name)
        return found.version if found is not None and found.bytes == content else None

    def write(self, name: str, content: bytes) -> None:
        """Write a small object, whatever was there."""
        self._put(name, content, "overwrite")

    def _put(self, name: str, content: bytes, mode: Any) -> str:
        import obstore

        with self._asking("written", name):
            try:
                return str(obstore.put(self._store, name, content, mode=mode, use_multipart=False)["e_tag"])
            except FileNotFoundError as error:
                if isinstance(mode, dict):
                    raise
                raise OSError(f"{error}: is there such a bucket?") from error

    def upload(self, path: Path, name: str) -> None:
        """Write a file's content as an object."""
        import obstore

        with self._asking("written", name):
            try:
                obstore.put(self._store, name, path, chunk_size=PART)
            except FileNotFoundError as error:
                raise OSError(str(error)) from error

    def upload_all(self, folder: Path, names: Iterable[str], prefix: str) -> None:
        """Write files below a folder as objects below a prefix, several at a time."""
        self.map(lambda name: self.upload(folder / name, f"{prefix}/{name}"), names)

    def download(self, name: str, path: Path) -> str:
        """Write an object's content into a file; return its hex SHA-256.

        Raises `FileNotFoundError` if there is no such object.
        """
        import obstore

        path.parent.mkdir(parents=True, exist_ok=True)
        with self._asking("read", name):
            digest = hashlib.sha256()
            stream = obstore.get(self._store, name).stream(min_chunk_size=PART)
            with path.open("wb") as file:
                for part in stream:
                    digest.update(part)
                    file.write(part)
            return digest.hexdigest()

    def map(self, function: Callable[[str], Result], names: Iterable[str]) -> list[Result]:
        """Return `function(name)` for every name, in order, several at a time."""
        with ThreadPoolExecutor(PARALLEL) as pool:
            return list(pool.map(function, names))

    def below(self, prefix: str) -> list[Object]:
        """Return the objects below a prefix, sorted by name."""
        import obstore

        with self._asking("listed", prefix):
            found = obstore.list(self._store, prefix or None).collect()
        objects = [Object(one["path"], int(one["size"]), str(one["e_tag"])) for one in found]
        return sorted(objects, key=lambda one: one.name)

    def folders(self, prefix: str) -> list[str]:
        """Return the last part of the names of what has objects below it, right below a prefix."""
        import obstore

        with self._asking("listed", prefix):
            found = obstore.list_with_delimiter(self._store, prefix)
        return sorted(path.rpartition("/")[2] for path in found["common_prefixes"])

    def delete(self, *names: str) -> None:
        """Delete objects; those that aren't there don't matter."""
        import obstore

        def one(name: str) -> None:
            try:
                with self._asking("deleted", name):
                    obstore.delete(self._store, name)
            except FileNotFoundError:
                return

        self.map(one, names)


def older_layout(objects: Objects) -> PreflightError:
    """Return the error for what a version of wsss has left that knew no conditional puts."""
    message = "was written by an older version of wsss, which this one can't read"
    return PreflightError(
        Problem(objects.address("").rstrip("/"), message, "start anew under another prefix")
    )


def _open(uri: str, tries: int, pause: float) -> ObjectStore:
    from obstore.exceptions import BaseError
    from obstore.store import from_url

    address, _, query = uri.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name in options:
        if name not in OPTIONS:
            known = repr(name) if re.fullmatch(r"\w{1,40}", name) else "whose name is no word"
            message = f"has an option {known}, which there is not"
            raise PreflightError(Problem(address, message, nearest(name, OPTIONS)))
    if "endpoint_override" in options:
        options["endpoint"] = f"{options.pop('scheme', 'https')}://{options.pop('endpoint_override')}"
    config: Any = {name: options[name] for name in ("endpoint", "region") if name in options}
    plain = options.get("endpoint", os.environ.get("AWS_ENDPOINT_URL", "")).startswith("http://")
    retry: Any = {
        "max_retries": tries - 1,
        "retry_timeout": timedelta(seconds=PATIENCE),
        "backoff": {
            "init_backoff": timedelta(seconds=pause),
            "max_backoff": timedelta(seconds=max(pause, 1e-3) * 2 ** max(tries - 2, 0)),
            "base": 2,
        },
    }
    try:
        return from_url(
            address,
            config=config or None,
            client_options={"allow_http": True} if plain else None,
            retry_config=retry,
            **_credentials(address),
        )
    except (BaseError, ValueError, OSError) as error:
        message = f"can't be used as a storage: {first_line(error)}"
        hint = "give --storage FOLDER or s3://bucket/prefix"
        raise PreflightError(Problem(address, message, hint)) from error


def _credentials(address: str) -> Mapping[str, Any]:
    """Return boto3's credentials for S3 where the environment has no key, and boto3 is installed: obstore
    itself reads no profiles."""
    profile = os.environ.get("AWS_PROFILE") or (Path.home() / ".aws/credentials").is_file()
    wanted = urlsplit(address).scheme == "s3" and "AWS_ACCESS_KEY_ID" not in os.environ and profile
    if not wanted or importlib.util.find_spec("boto3") is None:
        return {}
    from obstore.auth.boto3 import Boto3CredentialProvider

    return {"credential_provider": Boto3CredentialProvider()}
