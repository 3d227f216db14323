"""What is wrong with what `cluster slurm` and `cluster kuberay` are asked for, before anything is queued."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from wsss.errors import Problem, quoted

if TYPE_CHECKING:
    from wsss.config import Study

SHORTEST_MINUTES = 10
"""Of a job's wall time: the run is asked to stop five minutes before its end."""
ENDLESS = ("unlimited", "infinite")
SET_BY_US = {
    **dict.fromkeys(("--nodes", "-N"), "give --nodes to `cluster slurm` itself"),
    **dict.fromkeys(("--time", "-t"), "give --time to `cluster slurm` itself"),
    **dict.fromkeys(("--cpus-per-task", "-c"), "give --cpus-per-node to `cluster slurm` itself"),
    "--gpus-per-node": "give it to `cluster slurm` itself",
    **dict.fromkeys(("--ntasks", "-n", "--ntasks-per-node"), "each node runs one Ray"),
    **dict.fromkeys(("--signal", "--requeue", "--no-requeue"), "the script stops and requeues itself by it"),
    **dict.fromkeys(("--array", "-a"), "one study is one job"),
    "--wrap": "the script is the job",
}
"""Options of sbatch that the script's own lines rest on, each with what to do instead."""


def unfit(study: Study, cpus: int, gpus: int, cpu_option: str, gpu_option: str) -> Iterator[Problem]:
    """Yield a problem for each sweep whose trials ask for more than one node has: they would wait for ever.

    Args:
        study: what will run.
        cpus: of one node.
        gpus: of one node.
        cpu_option: by which the CPUs were given, for messages.
        gpu_option: by which the GPUs were given.
    """
    for sweep in study.sweeps:
        wanted = sweep.resources
        for option, has, asks, key in (
            (cpu_option, cpus, wanted.cpu, "cpu"),
            (gpu_option, gpus, wanted.gpu, "gpu"),
        ):
            if asks > has:
                message = f"is {has}, but a trial of sweep {quoted(sweep.name)} asks for {asks:g} on one node"
                yield Problem(
                    option, message, f"`-s sweeps.{sweep.name}.resources.{key}={has}` asks for less"
                )


def wall_time(text: str) -> Iterator[Problem]:
    """Yield what is wrong with a wall time, which is written as sbatch takes it."""
    if text.lower() in ENDLESS:
        return
    expected = "write MINUTES, HOURS:MINUTES:SECONDS or DAYS-HOURS"
    found = re.fullmatch(r"(?:(\d{1,4})-)?(\d{1,6})(?::(\d{1,3}))?(?::(\d{1,3}))?", text, re.ASCII)
    if found is None:
        yield Problem("--time", f"is {quoted(text)}, which is no time", expected)
        return
    days, first, second = (int(part or 0) for part in found.groups()[:3])
    if found[1] is not None:
        minutes = days * 1440 + first * 60 + second
    elif found[4] is not None:
        minutes = first * 60 + second
    else:
        minutes = first
    if minutes < SHORTEST_MINUTES:
        message = f"is {text}, but must be at least {SHORTEST_MINUTES} minutes"
        yield Problem("--time", message, "five of them are for the run to stop in")


def sbatch_options(options: Sequence[str]) -> Iterator[Problem]:
    """Yield what is wrong with further options: another line, several in one, or one that the script sets."""
    for option in options:
        try:
            words = shlex.split(option)
        except ValueError:
            words = []
        shaped = words and option.isprintable() and re.fullmatch(r"-[A-Za-z].*|--[a-z].*", words[0])
        if not shaped or len(words) > 2 or any(word.startswith("-") for word in words[1:]):
            yield Problem("--sbatch", f"is {quoted(option)}, but must be one option, like --partition=gpu")
            continue
        name = words[0].partition("=")[0]
        name = name if name.startswith("--") else name[:2]
        if name in SET_BY_US:
            yield Problem("--sbatch", f"is {quoted(option)}, which the script sets", SET_BY_US[name])


SHAPES = {
    "--image": (
        r"[a-z0-9][a-z0-9._:/-]*(@sha256:[0-9a-f]{64}|:[\w][\w.-]{0,127})?",
        "an image, like registry.example/wsss:0.1",
    ),
    "--memory": (
        r"(?=.*[1-9])\d{1,15}(\.\d{1,3})?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)",
        "a size as Kubernetes writes it, like 32Gi",
    ),
    "--claim": (
        r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?",
        "a name in Kubernetes: small letters, digits, '-' and '.'",
    ),
    "--secret-env": (
        r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?",
        "a name in Kubernetes: small letters, digits, '-' and '.'",
    ),
    "--mount": (r"(/[\w.-]+)+", "a folder of the pods, like /shared"),
}
TAKEN = ("/study", "/dev", "/opt", "/usr", "/etc", "/proc", "/sys", "/bin", "/lib", "/tmp")  # noqa: S108
"""Folders of the image and of the pods that a volume would hide, or be hidden by."""


def pod_values(values: dict[str, str]) -> Iterator[Problem]:
    """Yield a problem for each value, by its option, that Kubernetes would refuse."""
    for option, value in values.items():
        pattern, expected = SHAPES[option]
        if not re.fullmatch(pattern, value, re.ASCII):
            yield Problem(option, f"is {quoted(value)}, but must be {expected}")
        elif option == "--mount" and (".." in value.split("/") or f"/{value.split('/')[1]}" in TAKEN):
            yield Problem(option, f"is {value}, which the pods need themselves", "give another, like /shared")
