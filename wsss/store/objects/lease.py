"""A lease that is one object."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from wsss.errors import StorageError
from wsss.store.lease import LEASE, TIMEOUT, Lease, Leases
from wsss.store.objects.client import Object, Objects
from wsss.store.records import parse_lease

PARTIAL = "store/partial"
"""Where the storage has leases on what is being made, and its checkpoints."""


class ObjectLease(Lease):
    """Created, renewed and taken over with conditional puts."""

    def __init__(
        self,
        objects: Objects,
        folder: str,
        *,
        inputs: Sequence[str] = (),
        about: Mapping[str, str] = MappingProxyType({}),
        timeout: float = TIMEOUT,
    ) -> None:
        super().__init__(inputs=inputs, about=about, timeout=timeout)
        self._objects = objects
        self.name = f"{folder}/{LEASE}"
        self._version = ""
        self._renewing = threading.Lock()

    def others(self) -> Leases:
        found = self._objects.get(self.name)
        self._version = "" if found is None else found.version
        if found is None:
            return {}
        about = parse_lease(found.bytes)
        owner = str(about.get("owner"))
        return {} if owner == self.owner else {owner: (found.version, about)}

    def _claim(self, stale: set[str]) -> bool:
        content = json.dumps(self.content()).encode()
        if stale:
            if not self._version and set(self.others()) - stale:
                return False
            version = self._objects.replace(self.name, content, self._version) if self._version else None
        else:
            version = self._objects.create(self.name, content)
        self._version = version or ""
        return version is not None

    def _renew(self) -> bool:
        with self._renewing:  # a thread gives signs of life, and `still_mine` does in another
            for _ in range(2):
                content = json.dumps(self.content()).encode()
                version = self._objects.replace(self.name, content, self._version)
                if version is not None:
                    self._version = version
                    return True
                # The lease may still be this one: an earlier sign of life got there, and its answer was lost.
                if self.others() or not self._version:
                    return False
            return False

    def _drop(self) -> None:
        try:
            if not self.others() and self._version:  # the lease is there, and nobody else's
                self._objects.delete(self.name)
        except StorageError:  # away: the lease goes stale by itself
            return


def leases_among(objects: Objects, listed: Sequence[Object]) -> Leases:
    """Return the leases in a listing."""
    names = [one.name for one in listed if is_lease(one)]
    contents = [found for found in objects.map(objects.get, names) if found is not None]
    leases = [(found.version, parse_lease(found.bytes)) for found in contents]
    return {str(about.get("owner")): (version, about) for version, about in leases}


def is_lease(one: Object) -> bool:
    """Tell whether an object is the lease on something that is being made."""
    return one.name.split("/")[3:] == [LEASE]
