"""Sending a study to a Ray cluster as a job, with the code of one folder."""

from __future__ import annotations

import logging
import os
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from wsss.addresses import secret_in, shown
from wsss.config import Study, load_study
from wsss.config import smoke as shrink
from wsss.config.load import DEFAULT_STORAGE
from wsss.config.naming import names_a_file
from wsss.config.smoke import SUFFIX
from wsss.config.text.location import Location, is_remote, parse_location
from wsss.config.text.yaml_text import parse_yaml, read_text
from wsss.errors import ConfigError, PreflightError, Problem
from wsss.pipeline.past.stored_studies import find_study
from wsss.tracking.location import VARIABLE, database_file
from wsss.tuning.environment import ENVIRONMENT  # sets Ray's environment first

from ray.exceptions import RayError  # isort: skip
from ray.job_submission import JobSubmissionClient  # isort: skip

from wsss.tuning.joining.dashboard import TUNNEL, check_dashboard  # isort: skip

PASSED_ON = (VARIABLE,)
"""Environment variables that a job gets from this process. None may hold a secret, since the dashboard
shows a job's environment to every user. Ray's own token travels with each request; MLflow's password, and
a database's address with a password, belong on the head node."""
LAUNCHER = "launch.py"
UNBUFFERED = {"PYTHONUNBUFFERED": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
NO_AGENT = "No available agent"
"""Ray's message while the processes that start jobs are not running yet."""
PATIENCE = 60.0
TALKATIVE = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
)
"""Ray's loggers that tell of each upload and each connection that is closed."""


@dataclass(frozen=True)
class JobPlan:
    """A job before it is sent: a command line of quoted words, run in a copy of `working_dir`."""

    entrypoint: str
    working_dir: Path
    environment: dict[str, str]
    kept_back: tuple[str, ...] = ()
    """Names of variables that stay here, because they hold a secret."""
    study: Study | None = None


class Verb(StrEnum):
    """What a job does with a study."""

    run = "run"
    plan = "plan"
    check = "check"
    compare = "compare"
    resume = "resume"
    report = "report"
    sync = "sync"


LOOKING = (Verb.compare, Verb.report, Verb.sync)
"""Verbs on what a study left: they take its name, no values."""


def plan_job(
    study: str,
    *,
    verb: Verb = Verb.run,
    overrides: Sequence[str] = (),
    smoke: bool = False,
    storage: str | None = None,
    name: str | None = None,
    working_dir: Path = Path("."),
    allow_commands: bool = False,
) -> JobPlan:
    """Return the job that does something with a study on a cluster.

    Raises `ConfigError` for all that is wrong with the study, and for what a job can't use: a storage or
    data in its folder, which Ray deletes after the job, or a study file outside of that folder.

    Args:
        study: a study file, or the name of one in a shared storage. Where this machine doesn't have that
            storage, the job alone finds out whether the study is there.
        verb: what the job does.
        overrides: changes, each as "key=value".
        smoke: whether to shrink the study to one short trial an arm.
        storage: folder or address of the storage; the study's own, or `runs`, when None.
        name: another name to run the study under.
        working_dir: the folder whose code and files the job gets.
        allow_commands: whether the study may start its programs; passed on to `run` and `resume`.
    """
    folder = Path(os.path.realpath(working_dir))  # unlike `resolve`, it takes links in a circle
    path = Path(study) if names_a_file(study) else None
    place = parse_location(storage or DEFAULT_STORAGE)
    if path is None and _is_elsewhere(place, storage):
        stored = f"{name or study}{SUFFIX if smoke else ''}"
        words = _words(verb, stored, place, study, _Given(overrides, name, smoke, allow_commands))
        return _job(words, folder)
    if path is None:
        found = find_study(study, place, overrides, rename=name)
    else:
        found = load_study(path, overrides, name=name, storage=storage)
    found = shrink(found) if smoke else found
    problems = []
    if not (folder / LAUNCHER).is_file():
        hint = "run from the folder that holds it, or give --working-dir"
        problems.append(Problem(str(folder), f"has no {LAUNCHER}, which the job starts", hint))
    if path is not None and not path.resolve().is_relative_to(folder):
        hint = f"put it into {folder}: only that folder goes to the cluster"
        problems.append(Problem(study, "the study file is outside of the working directory", hint))
    shared = is_remote(found.storage) or (
        _is_named_absolutely(storage, path, overrides) and not Path(found.storage).is_relative_to(folder)
    )
    if not shared:
        hint = "give --storage an absolute folder that all nodes share"
        problems.append(
            Problem("storage", f"{found.storage} would be lost: a job's folder is deleted with it", hint)
        )
    if found.data.root is not None and found.data.root.is_relative_to(folder):
        hint = "give `-s data.root=` an absolute folder that all nodes share"
        problems.append(Problem("data.root", f"{found.data.root} is in the folder of the job", hint))
    problems += _lost_tracking(found, folder)
    if verb == Verb.report and is_remote(found.storage):
        hint = f"make it here: `report {found.name} --storage {found.storage}`"
        problems.append(Problem("report", "the page would be lost: a job's folder is deleted with it", hint))
    if problems:
        raise ConfigError(problems)
    word = study if path is None else path.resolve().relative_to(folder).as_posix()
    words = _words(verb, found.name, found.storage, word, _Given(overrides, name, smoke, allow_commands))
    return _job(words, folder, found)


def _is_elsewhere(place: Location, named: str | None) -> bool:
    """Whether a storage is an absolute folder that this machine lacks, as a laptop lacks `/shared`."""
    return named is not None and isinstance(place, Path) and Path(named).is_absolute() and not place.exists()


def _job(words: Sequence[str], folder: Path, study: Study | None = None) -> JobPlan:
    given = {key: os.environ[key] for key in PASSED_ON if key in os.environ}
    passed = {key: value for key, value in given.items() if not secret_in(value)}
    environment = {**UNBUFFERED, **ENVIRONMENT, **passed}
    kept_back = tuple(sorted(given.keys() - passed.keys()))
    return JobPlan(shlex.join(["python", LAUNCHER, *words]), folder, environment, kept_back, study)


@dataclass(frozen=True)
class _Given:
    """The options of `cluster submit` that the verb on the head gets, too."""

    overrides: Sequence[str]
    name: str | None
    smoke: bool
    allow_commands: bool


def _words(verb: Verb, stored: str, storage: Location, word: str, given: _Given) -> list[str]:
    """Return the words behind `launch.py`.

    Args:
        verb: what the job does.
        stored: the study's name in the storage.
        storage: where that is.
        word: the study as the job finds it.
        given: the options.
    """
    place = ["--storage", str(storage)]
    if verb in LOOKING:
        output = ["-o", str(Path(storage) / "studies" / stored / "report.html")]
        return [verb, stored, *(output if verb == Verb.report else []), *place]
    values = [part for override in given.overrides for part in ("-s", override)]
    shape = [*(["--name", given.name] if given.name else []), *(["--smoke"] if given.smoke else [])]
    allowed = ["--allow-commands"] if given.allow_commands else []
    if verb == Verb.resume:
        return ["resume", stored, *values, *place, *allowed]
    start = ["cluster", "check"] if verb == Verb.check else [str(verb)]
    return [*start, word, *values, *place, *shape, *(allowed if verb == Verb.run else [])]


def _lost_tracking(study: Study, folder: Path) -> list[Problem]:
    """Say whether MLflow's database would be in the folder of the job, where an object storage or a relative
    path puts it."""
    uri = study.tracking.uri or os.environ.get(VARIABLE)
    hint = "give `-s tracking.uri=` a server, or a file on the head node: sqlite:////FOLDER/mlflow.db"
    if uri is None:
        if not is_remote(study.storage):
            return []  # beside the storage, which is looked at itself
        message = "MLflow's database would be lost: without an address it is in the job's folder"
        return [Problem("tracking.uri", message, hint)]
    file = database_file(uri)
    if file is None or (file.is_absolute() and not file.is_relative_to(folder)):
        return []
    return [Problem("tracking.uri", f"{shown(uri)} would be lost: a job's folder is deleted with it", hint)]


def _is_named_absolutely(storage: str | None, path: Path | None, overrides: Sequence[str]) -> bool:
    """Whether the command line or the study names an absolute storage: all others lie in the job's folder.

    `path` is the study's file; a stored study says nothing of where it is.
    """
    written = [override.partition("=")[2] for override in overrides if override.startswith("storage=")]
    content = {} if path is None else parse_yaml(read_text(path), str(path)).value
    told = storage or (written[-1] if written else content.get("storage"))
    return told is not None and Path(str(told)).expanduser().is_absolute()


def submit_job(job: JobPlan, address: str, *, patience: float = PATIENCE) -> str:
    """Send a job and return its id.

    Raises `PreflightError` within ten seconds when the cluster can't be reached or refuses the token, or when
    it isn't ready to take jobs for `patience` seconds. `address` is what `dashboard_address` returns.
    """
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    check_dashboard(address)
    deadline = time.monotonic() + patience
    while True:
        try:
            client = JobSubmissionClient(address)
            return client.submit_job(
                entrypoint=job.entrypoint,
                runtime_env={"working_dir": str(job.working_dir), "env_vars": job.environment},
            )
        except (OSError, RuntimeError, ValueError, RayError) as error:
            if NO_AGENT in str(error) and time.monotonic() < deadline:
                time.sleep(2)  # a cluster that has just started
                continue
            raise PreflightError(Problem(address, f"did not take the job: {error}", TUNNEL)) from error
