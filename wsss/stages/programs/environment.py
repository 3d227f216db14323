"""The interpreter and the environment variables of a foreign program; no secrets are among the latter."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsss.addresses import secret_in
from wsss.errors import Problem, StageError, nearest, shortened

PASSED = (
    *("HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH"),
    *("CUDA_HOME", "CUDA_PATH", "CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES"),
    *("TORCH_HOME", "HF_HOME", "XDG_CACHE_HOME", "SSL_CERT_FILE"),
)
"""The variables of this process that a program gets, besides LC_*."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
SYSTEM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
PYTHONS = ("python", "python3")
CONDA_HOMES = ("miniconda3", "anaconda3", "miniforge3", "mambaforge", "micromamba", ".conda")
LIST_PACKAGES = """
import importlib.metadata, json, platform
found = {str(one.metadata["Name"]): one.version for one in importlib.metadata.distributions()}
print(json.dumps({"python": platform.python_version(), "packages": found}))
"""
PACKAGES_SECONDS = 120
START_SECONDS = 60
"""How long an interpreter may take to name its version."""
MOST_PACKAGES = 5000


def interpreter(python: Path | None, conda: str | None) -> Path:
    """Return the Python of an environment; without one, the Python of this process. Raises `StageError`."""
    if conda is not None:
        homes = _conda_homes()
        found = [home / "envs" / conda for home in homes]
        found += [home for home in homes if conda == "base"]
        python = next((one / "bin" / "python" for one in found if (one / "bin" / "python").exists()), None)
        if python is None:
            names = [
                one.name for home in homes if (home / "envs").is_dir() for one in (home / "envs").iterdir()
            ]
            places = ", ".join(map(str, homes)) or "nowhere: no conda was found"
            hint = nearest(conda, names) if names else f"looked for in {places}"
            raise StageError(Problem("environment.conda", f"there is no environment {conda!r} here", hint))
    if python is None:
        return Path(sys.executable)
    if not os.access(python, os.X_OK) or python.is_dir():
        raise StageError(Problem("environment.python", f"{python} can't be run on {platform.node()}"))
    return python


def _conda_homes() -> list[Path]:
    told = [
        Path(os.environ[name]).parent.parent for name in ("CONDA_EXE", "MAMBA_EXE") if os.environ.get(name)
    ]
    told += [Path(os.environ["MAMBA_ROOT_PREFIX"])] if os.environ.get("MAMBA_ROOT_PREFIX") else []
    usual = [place / name for place in (Path.home(), Path("/opt")) for name in (*CONDA_HOMES, "conda")]
    return [home for home in dict.fromkeys([*told, *usual]) if home.is_dir()]


def variables(python: Path, *, threads: int, device: str, workers: int) -> dict[str, str]:
    """Return all environment variables of a program.

    Args:
        python: its interpreter, whose folder comes first in PATH.
        threads: CPUs that it may use.
        device: of the trial; on "cpu" it sees no GPU.
        workers: how many GPUs it may use where the environment names none.
    """
    given = {name: os.environ[name] for name in os.environ if name in PASSED or name.startswith("LC_")}
    found = {name: value for name, value in given.items() if not secret_in(value)}
    found["PATH"] = os.pathsep.join([str(python.parent), *SYSTEM_PATH])
    found |= dict.fromkeys(THREADS, str(threads))
    found |= {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
    if (python.parent.parent / "conda-meta").is_dir():
        found["CONDA_PREFIX"] = str(python.parent.parent)
    elif (python.parent.parent / "pyvenv.cfg").is_file():
        found["VIRTUAL_ENV"] = str(python.parent.parent)
    found["CUDA_VISIBLE_DEVICES"] = ",".join(visible_gpus(device, workers))
    return found


def visible_gpus(device: str, workers: int) -> list[str]:
    """Return the GPUs that a program sees: those that Ray, or another launcher, gave to this process."""
    if device == "cpu":
        return []
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [one for one in told.split(",") if one] if told is not None else [str(n) for n in range(workers)]


def version(python: Path, environment: Mapping[str, str]) -> str:
    """Start an interpreter and return its version. Raises `StageError` when it doesn't start."""
    if python == Path(sys.executable):
        return platform.python_version()
    code = "import platform; print('version', platform.python_version())"
    try:
        done = _run_code(python, code, environment, START_SECONDS)
    except subprocess.TimeoutExpired as error:
        message = f"{python} doesn't answer within {START_SECONDS} s"
        raise StageError(Problem("environment", message)) from error
    except OSError as error:
        raise StageError(Problem("environment", f"{python} doesn't start: {error.strerror}")) from error
    told = done.stdout.decode(errors="replace").split()
    if not done.returncode and len(told) == 2 and told[0] == "version":
        return shortened(told[1], 20)
    lines = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
    said = shortened(lines[-1], 200) if lines else "it writes nothing"
    message = f"{python} doesn't start as Python does: it ends with code {done.returncode}, {said}"
    raise StageError(Problem("environment", message))


def packages(python: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the version of an interpreter and its packages, name → version; an interpreter that doesn't
    answer gives the reason in their place."""
    if python == Path(sys.executable):
        found = {str(one.metadata["Name"]): one.version for one in importlib.metadata.distributions()}
        return {"python": platform.python_version(), "packages": dict(sorted(found.items()))}
    try:
        done = _run_code(python, LIST_PACKAGES, environment, PACKAGES_SECONDS)
        told = json.loads(done.stdout)
        names = dict(sorted(told["packages"].items())[:MOST_PACKAGES])
        return {"python": str(told["python"]), "packages": {str(n): str(v) for n, v in names.items()}}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, subprocess.SubprocessError) as error:
        return {"python": "unknown", "packages": {}, "error": type(error).__name__}


def _run_code(
    python: Path, code: str, environment: Mapping[str, str], seconds: float
) -> subprocess.CompletedProcess[bytes]:
    """Let an interpreter run code, in the root folder: no user's files are imported."""
    return subprocess.run(
        [str(python), "-c", code],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=seconds,
        env=dict(environment),
        cwd="/",
    )


__all__ = ["PYTHONS", "interpreter", "packages", "variables", "version", "visible_gpus"]
