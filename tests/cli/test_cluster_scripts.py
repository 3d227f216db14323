"""What `cluster slurm` and `cluster kuberay` print, and what the batch script does where it runs."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import in_process

STUDY = "tune_configs/quickstart.yaml"
ROOT = Path(__file__).parents[2]


def slurm(*words: str) -> str:
    done = in_process("cluster", "slurm", STUDY, "--storage", "/shared/runs", *words, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def options(script: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH ")]


def test_the_script_asks_for_what_was_said_and_can_be_requeued() -> None:
    script = slurm("--nodes", "3", "--gpus-per-node", "4", "--time", "8:00:00", "--sbatch", "--partition=gpu")
    asked = options(script)
    assert {"--nodes=3", "--gpus-per-node=4", "--time=8:00:00", "--partition=gpu", "--requeue"} <= set(asked)
    assert "--signal=B:USR1@300" in asked and "--exclusive" in asked
    assert "--min-nodes 3" in script and "--num-gpus=4" in script
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    assert "--gpus-per-node" not in slurm("--gpus-per-node", "0")


def test_what_looks_like_shell_stays_a_word() -> None:
    assert "'tracking.uri=$(id)'" in slurm("-s", "tracking.uri=$(id)")


@pytest.mark.parametrize("option", ["--x\n#SBATCH --y", "partition", ""])
def test_an_option_that_would_be_another_line_is_refused(option: str) -> None:
    done = in_process("cluster", "slurm", STUDY, "--sbatch", option, cwd=ROOT)
    assert done.returncode == 2 and "--sbatch" in done.stderr


def batch(tmp_path: Path, run: str) -> tuple[subprocess.Popen[str], Path]:
    """Start the script where `srun` starts its command here, and `run` takes the place of wsss's run."""
    programs = tmp_path / "bin"
    programs.mkdir()
    told = tmp_path / "told"
    for name, text in {
        "scontrol": f'[ "$1" = show ] && echo node1 && exit; echo "$*" >> {told}',
        "srun": 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"',
        "python": run,
    }.items():
        (programs / name).write_text(f"#!/bin/bash\n{text}\n")
        (programs / name).chmod(0o755)
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text("ab")
    lines = slurm("--gpus-per-node", "0").splitlines()
    lines = [f"export PATH={programs}:$PATH" if line.startswith("export PATH=") else line for line in lines]
    lines = [f"cd {shlex.quote(str(tmp_path))}" if line.startswith("cd ") else line for line in lines]
    script = tmp_path / "job.sh"
    script.write_text("\n".join(lines))
    environment = {**os.environ, "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node1", "HOME": str(tmp_path)}
    return subprocess.Popen(["bash", str(script)], env=environment, text=True), told


@pytest.mark.parametrize("code", [0, 1, 3, 130])
def test_the_job_ends_as_the_run_does(tmp_path: Path, code: int) -> None:
    job, told = batch(tmp_path, f"exit {code}")
    assert job.wait(20) == code
    assert not told.exists(), "it is not put into the queue again"
    assert not list(tmp_path.glob(".wsss-*"))


def test_before_the_wall_time_the_run_is_asked_to_stop_and_the_job_queued_again(tmp_path: Path) -> None:
    run = f"trap 'exit 130' TERM; touch {tmp_path}/up; while :; do sleep 0.05; done"
    job, told = batch(tmp_path, run)
    until = time.monotonic() + 20
    while not ((tmp_path / "up").exists() and list(tmp_path.glob(".wsss-7.process"))):
        assert time.monotonic() < until
        time.sleep(0.05)
    job.send_signal(10)  # USR1, to the batch script alone, as SLURM does
    assert job.wait(20) == 130
    assert told.read_text() == "requeue 7\n"


# The fields of ray.io/v1 by KubeRay's API reference, version 1.6.
RAY_JOB = {
    "activeDeadlineSeconds", "backoffLimit", "rayClusterSpec", "submitterPodTemplate", "metadata",
    "clusterSelector", "submitterConfig", "managedBy", "deletionStrategy", "entrypoint", "runtimeEnvYAML",
    "jobId", "submissionMode", "entrypointResources", "entrypointNumCpus", "entrypointNumGpus",
    "ttlSecondsAfterFinished", "shutdownAfterJobFinishes", "suspend",
}  # fmt: skip
RAY_CLUSTER = {
    "suspend", "managedBy", "authOptions", "autoscalerOptions", "headServiceAnnotations",
    "enableInTreeAutoscaling", "gcsFaultToleranceOptions", "headGroupSpec", "rayVersion", "workerGroupSpecs",
}  # fmt: skip
HEAD_GROUP = {"template", "headService", "enableIngress", "rayStartParams", "serviceType"}
WORKER_GROUP = {
    "suspend", "groupName", "replicas", "minReplicas", "maxReplicas", "idleTimeoutSeconds", "rayStartParams",
    "template", "scaleStrategy", "numOfHosts",
}  # fmt: skip
AUTH = {"mode", "secretName", "enableK8sTokenAuth"}


def kuberay(*words: str, study: str = STUDY) -> Any:
    return in_process("cluster", "kuberay", study, "--image", "example/wsss:1", *words, cwd=ROOT)


def test_the_ray_job_has_fields_that_kuberay_knows() -> None:
    done = kuberay("--claim", "data", "--storage", "/shared/runs", "--workers", "2", "--gpus", "4")
    assert done.returncode == 0, done.stderr
    config, job = yaml.safe_load_all(done.stdout)
    assert config["data"]["study.yaml"] == (ROOT / STUDY).read_text()
    spec = job["spec"]
    cluster = spec["rayClusterSpec"]
    (workers,) = cluster["workerGroupSpecs"]
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    for found, known in (
        (spec, RAY_JOB),
        (cluster, RAY_CLUSTER),
        (cluster["headGroupSpec"], HEAD_GROUP),
        (workers, WORKER_GROUP),
        (cluster["authOptions"], AUTH),
    ):
        assert set(found) <= known
    assert spec["shutdownAfterJobFinishes"] is True
    assert cluster["authOptions"] == {"mode": "token", "secretName": "wsss-ray-token"}
    assert workers["replicas"] == 2
    for group in (workers, cluster["headGroupSpec"]):
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        names = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
        assert names == {volume["name"] for volume in pod["volumes"]} == {"study", "memory", "shared"}
    limits = workers["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == 4
    assert spec["entrypoint"] == "wsss run /study/study.yaml --storage /shared/runs --address auto"


def test_a_bucket_takes_its_keys_from_a_secret() -> None:
    words = ("--storage", "s3://b/runs", "-s", "tracking.uri=http://mlflow:5000", "--secret-env", "keys")
    _, job = yaml.safe_load_all(kuberay(*words).stdout)
    (container,) = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": "keys"}}]
    assert len(container["volumeMounts"]) == 2, "no claim"


def test_what_would_be_lost_with_the_pods_is_refused_at_once() -> None:
    done = kuberay("--storage", "/elsewhere/runs", study="quickstart.yaml")
    assert done.returncode == 2
    done = kuberay("--storage", "/elsewhere/runs")
    assert done.returncode == 2 and "would be lost with the pods" in done.stderr
    done = kuberay("--storage", "s3://b/runs")
    assert done.returncode == 2 and "tracking.uri" in done.stderr
