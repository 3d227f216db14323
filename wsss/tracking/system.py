"""How busy the machine is that runs a study, sampled beside it: MLflow's system metrics.

Samples are kept beside the study's ledger, from where `sync` brings them back. On a cluster they are of the
machine that drives it, not of its workers.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from typing import Any

import psutil

from wsss.store.storage import Storage

FILE = "system.json"
"""Beside a study's ledger."""
MOST = 5000
"""Samples that are kept; with more, every other one goes and the pause between them doubles."""
Sample = tuple[int, dict[str, float]]
"""Milliseconds since 1970, and values by MLflow's names for them."""


class SystemSampler:
    """Samples the machine every few seconds until it is closed; what was sampled is then kept.

    Args:
        storage: where the study is.
        study: its name.
        seconds: between two samples.
    """

    def __init__(self, storage: Storage, study: str, seconds: float) -> None:
        self._storage = storage
        self._study = study
        self._seconds = seconds
        self._samples = read_samples(storage, study)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="system", daemon=True)
        psutil.cpu_percent()  # the first call has nothing to compare with
        self._thread.start()

    def _sample(self) -> None:
        while not self._closing.wait(self._seconds):
            with contextlib.suppress(psutil.Error, OSError):
                self._samples.append((int(time.time() * 1000), self._values()))
            if len(self._samples) > MOST:
                self._samples, self._seconds = self._samples[::2], 2 * self._seconds

    def _values(self) -> dict[str, float]:
        memory, disk = psutil.virtual_memory(), psutil.disk_usage(str(self._storage.local))
        return {
            "system/cpu_utilization_percentage": psutil.cpu_percent(),
            "system/system_memory_usage_megabytes": round(memory.used / 1e6, 1),
            "system/system_memory_usage_percentage": memory.percent,
            "system/disk_usage_percentage": disk.percent,
        }

    def close(self) -> None:
        """Take no more samples, and keep those there are. Raises `StorageError`."""
        self._closing.set()
        self._thread.join(timeout=5)
        if self._samples:
            self._storage.write_note(self._study, FILE, json.dumps(self._samples))


def read_samples(storage: Storage, study: str) -> list[Sample]:
    """Return the samples of a study's runs, oldest first; none where nothing was sampled or can be read."""
    try:
        content: Any = json.loads(storage.note(study, FILE) or b"[]")
        return [
            (int(when), {str(name): float(value) for name, value in values.items()})
            for when, values in content
        ]
    except (ValueError, TypeError, AttributeError):
        return []
