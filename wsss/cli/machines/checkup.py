"""What `doctor` looks at."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from wsss.config.text.location import Location, is_remote
from wsss.files import nearest_folder
from wsss.temporary import look_at_temporary_folder
from wsss.tuning.joining.auth import look_at_mode, look_at_token

Finding = tuple[str, str, str]
"""(what was looked at, "ok" | "note" | "bad", what was found)."""

ENOUGH_SHARED = 2**29
"""Bytes of /dev/shm that hold the batches of an ordinary trial on a GPU with eight CPUs."""
PACKAGES = ("torch", "torchvision", "timm", "ray", "mlflow", "numpy", "pydantic", "scikit-learn")


def examine(storage: Location) -> list[Finding]:
    """Return the findings, in the order in which a person would want to read them."""
    findings: list[Finding] = [("Python", "ok", f"{platform.python_version()} on {platform.platform()}")]
    for package in PACKAGES:
        findings.append(_version(package))
    for what, look in {
        "dense CRF": _crf,
        "packaged weights": _weights,
        "torchvision models": _torchvision,
        "processors": _processors,
        "GPU": _gpu,
        "shared memory": _shared_memory,
    }.items():
        findings.append(_guarded(what, look))
    findings += [("Ray's mode", *look_at_mode()), ("Ray's token", *look_at_token())]
    findings.append(("temporary files", *look_at_temporary_folder()))
    findings.append(_storage(storage))
    return findings


def examine_speed(progress: Callable[[str], None]) -> list[Finding]:
    """Return how fast networks learn here, and what limits a study.

    Args:
        progress: called with the name of each step before it is measured.
    """
    import tempfile

    import torch

    from wsss.pipeline.speed.measure import measure
    from wsss.pipeline.speed.settings import short_settings
    from wsss.pipeline.speed.verdict import limits, speed_rows

    cpus, gpus = os.cpu_count() or 1, torch.cuda.device_count()
    settings = short_settings("cuda", max(2, cpus // gpus)) if gpus else short_settings("cpu", 1)
    where = torch.cuda.get_device_name() if gpus else "the CPU, as there is no GPU: in seconds of one thread"
    work = f"{settings.backbone}, crops of {settings.crop} pixels, batches of {settings.batch}"
    try:
        with tempfile.TemporaryDirectory(prefix="wsss-speed-") as folder:
            measured = measure(settings, Path(folder), progress)
    except Exception as error:  # as with all else that is looked at
        return [("speed", "bad", f"on {where}: {type(error).__name__}: {error}")]
    rows = [*speed_rows(measured), limits(measured, settings, cpus, gpus)]
    return [("speed", "ok", f"on {where}: {work}"), *rows]


def _guarded(what: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except Exception as error:  # the point is to find out what is broken
        return what, "bad", f"{type(error).__name__}: {error}"


def _version(package: str) -> Finding:
    try:
        return package, "ok", importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return package, "bad", "not installed"


def _crf() -> Finding:
    from wsss.config.params.stages import CrfParams
    from wsss.masks.crf import dense_crf

    scores = np.full((2, 8, 8), 0.5, np.float32)
    result = dense_crf(np.zeros((8, 8, 3), np.uint8), scores, CrfParams())
    assert np.allclose(result, 0.5, atol=1e-3)
    return "dense CRF", "ok", "a uniform image stays uniform"


def _weights() -> Finding:
    from wsss.models import weights_identity

    return "packaged weights", "ok", weights_identity("efficientnet_lite0", "package")


def _torchvision() -> Finding:
    from wsss.models import create_backbone

    return (
        "torchvision models",
        "ok",
        f"resnet50 with {create_backbone('resnet50', 'none').channels} channels",
    )


def _processors() -> Finding:
    import torch

    return "processors", "ok", f"{os.cpu_count()} CPUs, torch uses {torch.get_num_threads()} threads"


def _gpu() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return "GPU", "note", "none; studies with `gpu: 1` won't start here"
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return "GPU", "ok", ", ".join(names)


def _shared_memory() -> Finding:
    from wsss.pipeline.forecasts.preflight import gibibytes
    from wsss.pipeline.forecasts.shared_memory import HINT, SHARED, free_shared_memory

    free = free_shared_memory()
    if free is None:
        return "shared memory", "note", f"no {SHARED}"
    text = f"{gibibytes(free)} free in {SHARED}"
    if free >= ENOUGH_SHARED:
        return "shared memory", "ok", text
    return "shared memory", "note", f"{text}: little for trials on a GPU with several CPUs; {HINT}"


def _storage(location: Location) -> Finding:
    if is_remote(location):
        from wsss.errors import PreflightError
        from wsss.store.storage import open_storage

        try:
            open_storage(location).check()
        except PreflightError as error:
            return "storage", "bad", str(error)
        return "storage", "ok", f"{location} can be written"
    storage = Path(location)
    parent = nearest_folder(storage)
    free = shutil.disk_usage(parent).free
    if not os.access(parent, os.W_OK):
        return "storage", "bad", f"{storage} can't be written"
    return "storage", "ok" if free > 1024**3 else "bad", f"{storage}, {free / 1024**3:.0f} GiB free"
