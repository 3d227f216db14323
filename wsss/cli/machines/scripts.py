"""`cluster slurm` and `cluster kuberay`: what to hand to another system, printed."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from wsss.cli.options import AllowOption, NameOption, SetOption, SmokeOption, StorageOption, StudyArgument
from wsss.launch.finding import find
from wsss.launch.permission import check_permission


def slurm(
    study: StudyArgument,
    nodes: Annotated[int, typer.Option("--nodes", min=1, help="Nodes.")] = 1,
    gpus: Annotated[int, typer.Option("--gpus-per-node", min=0, help="GPUs of each.")] = 1,
    cpus: Annotated[int, typer.Option("--cpus-per-node", min=1, help="CPUs of each.")] = 8,
    time: Annotated[str, typer.Option("--time", help="Wall time, as sbatch takes it.")] = "24:00:00",
    option: Annotated[
        list[str] | None, typer.Option("--sbatch", help="A further option, as in --partition=gpu.")
    ] = None,
    set_: SetOption = None,
    smoke: SmokeOption = False,
    storage: StorageOption = None,
    name: NameOption = None,
    allow_commands: AllowOption = False,
) -> None:
    """Print a batch script that runs a study on SLURM, and goes on by itself after the wall time.

    python launch.py cluster slurm tune_configs/voc.yaml --nodes 2 --storage /shared/runs > voc.sh

    sbatch voc.sh
    """
    from wsss.cli.machines.asked import sbatch_options, unfit, wall_time
    from wsss.cli.machines.slurm import Batch, batch_script
    from wsss.errors import ConfigError

    found = find(study, set_, storage, name, smoke)
    problems = [*wall_time(time), *sbatch_options(option or [])]
    problems += unfit(found, cpus, gpus, "--cpus-per-node", "--gpus-per-node")
    if problems:
        raise ConfigError(problems)
    check_permission(found, allow_commands)
    words = [*_program(), "run", study, *_options(set_, smoke, name, allow_commands)]
    words += ["--storage", str(found.storage), "--address", "auto"]
    batch = Batch(nodes, gpus, cpus, time, tuple(option or ()))
    print(batch_script(found.name, words, batch, Path.cwd(), Path(sys.executable)), end="")


def kuberay(
    study: StudyArgument,
    image: Annotated[str, typer.Option("--image", help="Image made of the Dockerfile.")],
    storage: Annotated[str, typer.Option("--storage", help="s3://bucket/prefix, or a folder of the volume.")],
    workers: Annotated[int, typer.Option("--workers", min=1, help="Pods that run trials.")] = 1,
    gpus: Annotated[int, typer.Option("--gpus", min=0, help="GPUs of each.")] = 1,
    cpus: Annotated[int, typer.Option("--cpus", min=1, help="CPUs of each.")] = 8,
    memory: Annotated[str, typer.Option("--memory", help="Memory of each.")] = "32Gi",
    claim: Annotated[str, typer.Option("--claim", help="PersistentVolumeClaim with the photos.")] = "",
    mount: Annotated[str, typer.Option("--mount", help="Where the pods have it.")] = "/shared",
    secret_env: Annotated[str, typer.Option("--secret-env", help="Secret with a bucket's keys.")] = "",
    set_: SetOption = None,
    smoke: SmokeOption = False,
    name: NameOption = None,
    allow_commands: AllowOption = False,
) -> None:
    """Print a RayJob that runs a study on Kubernetes, for `kubectl apply -f`.

    python launch.py cluster kuberay tune_configs/voc.yaml --image registry.example/wsss:0.1 --claim data
    --storage /shared/runs -s data.root=/shared/data/VOCdevkit/VOC2012
    """
    from wsss.cli.machines.asked import pod_values, unfit
    from wsss.cli.machines.kuberay import STUDY_FOLDER, Pods, ray_job
    from wsss.config import dump_study
    from wsss.config.checks.places import study_paths
    from wsss.config.checks.programs import study_programs
    from wsss.config.text.location import is_remote
    from wsss.errors import ConfigError, Problem

    found = find(study, set_, storage, name, smoke)
    named = {"--claim": claim, "--secret-env": secret_env}
    given = {"--image": image, "--memory": memory, "--mount": mount}
    problems = [*pod_values(given | {option: value for option, value in named.items() if value})]
    problems += unfit(found, cpus, gpus, "--cpus", "--gpus")
    if study_programs(found) and not allow_commands:
        hint = "what this machine allows always, the pods don't"
        problems.append(Problem("--allow-commands", "is missing, but the study starts programs", hint))
    if not is_remote(found.storage) and not (claim and Path(str(found.storage)).is_relative_to(mount)):
        hint = f"give a bucket, or --claim NAME and a folder below {mount}"
        problems.append(Problem("--storage", f"{found.storage} would be lost with the pods", hint))
    for key, path in study_paths(found):
        of_image = key.endswith(".environment.python")  # a Python may be the image's
        if not of_image and not (claim and Path(path).is_relative_to(mount)):
            hint = f"give one below {mount}, of the volume that --claim names"
            problems.append(Problem(key, f"is {path}, which the pods don't have", hint))
    if is_remote(found.storage) and not (found.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI")):
        hint = "give `-s tracking.uri=` a server, or `sync` afterwards where the page is wanted"
        problems.append(Problem("tracking.uri", "MLflow's database would be lost with the pods", hint))
    if problems:
        raise ConfigError(problems)
    # The pods get the study as it is understood here: its paths absolute, changed by what -s says.
    words = ["wsss", "run", f"{STUDY_FOLDER}/study.yaml", *(["--allow-commands"] if allow_commands else [])]
    words += ["--storage", str(found.storage), "--address", "auto"]
    pods = Pods(image, workers, cpus, gpus, memory, claim, mount, secret_env)
    version = importlib.metadata.version("ray")
    print(
        ray_job(found.name, dump_study(found), words, pods, ray_version=version, storage=str(found.storage)),
        end="",
    )


def _program() -> list[str]:
    """Return what starts wsss in this folder."""
    return ["python", "launch.py"] if Path("launch.py").is_file() else ["wsss"]


def _options(set_: list[str] | None, smoke: bool, name: str | None, allow_commands: bool) -> list[str]:
    words = [part for value in set_ or [] for part in ("-s", value)]
    words += ["--name", name] if name else []
    words += ["--smoke"] if smoke else []
    return words + (["--allow-commands"] if allow_commands else [])
