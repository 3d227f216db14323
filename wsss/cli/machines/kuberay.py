"""`cluster kuberay STUDY`: a RayJob that runs a study on Kubernetes."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

SECRET = "wsss-ray-token"  # noqa: S105 - the name of the secret, not its content
HEADER = f"""\
# kubectl create secret generic {SECRET} --from-literal=auth_token="$(openssl rand -hex 32)"   # once
# kubectl apply -f this-file; the same again after a failure: what exists already is not computed again
# Needs KubeRay 1.6 or newer. The cluster goes when the job has ended; results stay in {{storage}}.
"""
STUDY_FOLDER = "/study"
SCRIPT = "run.sh"
LONGEST_NAME = 47
"""Characters of a RayJob's name."""
VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PYTHONUNBUFFERED": "1",
}


@dataclass(frozen=True)
class Pods:
    """What is asked of Kubernetes.

    Args:
        image: of `Dockerfile`, in a registry that the cluster reaches.
        workers: pods besides the head, which runs no trials.
        cpus, gpus: of each worker.
        memory: of each worker, as Kubernetes writes it.
        claim: a PersistentVolumeClaim that many pods may write to, mounted at `mount`; "" for none.
        mount: where.
        secret_env: a Secret whose keys become variables, such as those of a bucket; "" for none.
    """

    image: str
    workers: int = 1
    cpus: int = 8
    gpus: int = 1
    memory: str = "32Gi"
    claim: str = ""
    mount: str = "/shared"
    secret_env: str = ""


def ray_job(name: str, text: str, words: Sequence[str], pods: Pods, *, ray_version: str, storage: str) -> str:
    """Return a ConfigMap with the study file and the command, and a RayJob, as YAML.

    Args:
        name: of the study.
        text: of its file, which the pods find as `/study/study.yaml`.
        words: the run's command line.
        pods: what is asked for.
        ray_version: in the image.
        storage: where results go.
    """
    kubernetes_name = _kubernetes_name(name)
    volumes: list[dict[str, Any]] = [
        {"name": "study", "configMap": {"name": kubernetes_name}},
        # Batches pass between processes through it, and Ray's object store lies there.
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}},
    ]
    mounts = [
        {"name": "study", "mountPath": STUDY_FOLDER, "readOnly": True},
        {"name": "memory", "mountPath": "/dev/shm"},  # noqa: S108
    ]
    if pods.claim:
        volumes.append({"name": "shared", "persistentVolumeClaim": {"claimName": pods.claim}})
        mounts.append({"name": "shared", "mountPath": pods.mount})

    def template(container: str, cpus: int, memory: str, gpus: int) -> dict[str, Any]:
        limits: dict[str, Any] = {"cpu": cpus, "memory": memory}
        if gpus:
            limits["nvidia.com/gpu"] = gpus
        found: dict[str, Any] = {
            "name": container,
            "image": pods.image,
            "env": [{"name": key, "value": value} for key, value in VARIABLES.items()],
            "resources": {"limits": limits, "requests": dict(limits)},
            "volumeMounts": mounts,
        }
        if pods.secret_env:
            found["envFrom"] = [{"secretRef": {"name": pods.secret_env}}]
        security = {"runAsNonRoot": True, "runAsUser": 1000, "fsGroup": 1000}
        return {"spec": {"securityContext": security, "containers": [found], "volumes": volumes}}

    worker = {
        "groupName": "workers",
        "replicas": pods.workers,
        "minReplicas": pods.workers,
        "maxReplicas": pods.workers,
        "rayStartParams": {"num-cpus": str(pods.cpus), "num-gpus": str(pods.gpus)},
        "template": template("ray-worker", pods.cpus, pods.memory, pods.gpus),
    }
    head = {
        "rayStartParams": {"num-cpus": "0", "num-gpus": "0", "dashboard-host": "0.0.0.0"},  # noqa: S104 - the pod's own
        "template": template("ray-head", 2, "8Gi", 0),
    }
    job = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": kubernetes_name},
        "spec": {
            # Two shells and Ray's quoting stand between this line and the job: a script hides the words.
            "entrypoint": f"bash {STUDY_FOLDER}/{SCRIPT}",
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": 60,
            "backoffLimit": 2,
            "rayClusterSpec": {
                "rayVersion": ray_version,
                "authOptions": {"mode": "token", "secretName": SECRET},
                "headGroupSpec": head,
                "workerGroupSpecs": [worker],
            },
        },
    }
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": kubernetes_name},
        "data": {"study.yaml": text, SCRIPT: f"exec {shlex.join(words)}\n"},
    }
    dumped = yaml.dump_all([config, job], Dumper=_Dumper, sort_keys=False, width=110)
    return HEADER.format(storage=storage) + dumped


def _kubernetes_name(name: str) -> str:
    """Return the name of a study's objects, which may have small letters, digits and '-' alone.

    Studies whose names differ in what is left out get different ones.
    """
    found = "wsss-" + "".join(c if c in "abcdefghijklmnopqrstuvwxyz0123456789" else "-" for c in name)
    if found == f"wsss-{name}" and len(found) <= LONGEST_NAME and not found.endswith("-"):
        return found
    mark = hashlib.sha256(name.encode()).hexdigest()[:6]
    return f"{found[: LONGEST_NAME - 7].rstrip('-')}-{mark}"


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as such, and no references."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
