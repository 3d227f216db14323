"""`cluster slurm STUDY`: the batch script that runs a study on SLURM."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PORT = 6379
SIGNAL_SECONDS = 300
"""Seconds before the wall time at which the run is asked to stop: an epoch may have to end first."""
SCRIPT = """\
#!/bin/bash
{options}

# One Ray over all nodes of the job; the first one runs the study. Before the wall time the run stops, leaves
# checkpoints, and the job goes into the queue again: what exists already is not computed again. `sbatch` this
# file after a failure, too.
set -u
umask 077
export PATH={path}:$PATH
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 MLFLOW_DISABLE_TELEMETRY=true PYTHONUNBUFFERED=1
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300 # seconds in which all nodes have to start Ray
unset RAY_ADDRESS
cd {folder} || exit 3
# Every node reads the token from the common home folder; who has it may run code in this job.
[ -s ~/.ray/auth_token ] || ray get-auth-token --generate >/dev/null

export WSSS_NOTES=$PWD/.wsss-$SLURM_JOB_ID # the run's process and, later, its exit code
rm -f "$WSSS_NOTES".*
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

requeue=
near_the_end() {{
  requeue=yes
  [ ! -s "$WSSS_NOTES.process" ] || kill -TERM "$(cat "$WSSS_NOTES.process")"
}}
trap near_the_end USR1

srun --wait=30 ray symmetric-run --address "$head:{port}" --min-nodes {nodes} \\
  --num-cpus={cpus} --num-gpus={gpus} -- \\
  bash -c '"$@" & echo $! > "$WSSS_NOTES.process"; wait $!; echo $? > "$WSSS_NOTES.code"' \\
  wsss {command} &
step=$!
while kill -0 $step 2>/dev/null; do wait $step; done # a signal interrupts `wait`

code=$(cat "$WSSS_NOTES.code" 2>/dev/null || echo 3)
rm -f "$WSSS_NOTES".*
[ -z "$requeue" ] || [ "$code" = 0 ] || scontrol requeue "$SLURM_JOB_ID"
exit "$code"
"""


@dataclass(frozen=True)
class Batch:
    """What is asked of SLURM; `more` are further options, such as `--partition=gpu`."""

    nodes: int = 1
    gpus: int = 1
    cpus: int = 8
    time: str = "24:00:00"
    more: tuple[str, ...] = ()


def batch_script(name: str, words: Sequence[str], batch: Batch, folder: Path, python: Path) -> str:
    """Return a script for `sbatch`.

    Args:
        name: of the study.
        words: the run's command line, of any characters.
        batch: what is asked for.
        folder: to start in, on a file system that all nodes share.
        python: of the installation, on such a file system too.
    """
    asked = [
        f"--job-name=wsss-{name}",
        f"--nodes={batch.nodes}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={batch.cpus}",
        *([f"--gpus-per-node={batch.gpus}"] if batch.gpus else []),
        "--exclusive",  # `ray symmetric-run` ends all that is Ray's and this user's on a node
        f"--time={batch.time}",
        f"--signal=B:USR1@{SIGNAL_SECONDS}",
        "--requeue",
        "--open-mode=append",
        f"--output=wsss-{name}-%j.log",
        *batch.more,
    ]
    return SCRIPT.format(
        options="\n".join(f"#SBATCH {option}" for option in asked),
        path=shlex.quote(str(python.parent)),
        folder=shlex.quote(str(folder)),
        port=PORT,
        nodes=batch.nodes,
        cpus=batch.cpus,
        gpus=batch.gpus,
        command=shlex.join(words),
    )
