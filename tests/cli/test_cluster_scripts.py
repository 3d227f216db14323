"""What `cluster slurm` and `cluster kuberay` print, and what the batch script does where it runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import in_process

from wsss.cli.machines.asked import pod_values, sbatch_options, wall_time
from wsss.config import load_study, load_study_text

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


@pytest.mark.parametrize(
    "option", ["--x\n#SBATCH --y", "partition", "", "- rm", "--partition=gpu --nodes=9", "--comment='open"]
)
def test_what_is_not_one_option_is_refused(option: str) -> None:
    (problem,) = sbatch_options([option])
    assert "must be one option, like --partition=gpu" in problem.message


@pytest.mark.parametrize("option", ["--nodes=9", "-N9", "-N 9", "--signal=TERM", "--array=0-3", "--time=5"])
def test_what_the_script_rests_on_is_not_set_twice(option: str) -> None:
    (problem,) = sbatch_options([option])
    assert "which the script sets" in problem.message


def test_options_of_one_and_two_words_are_taken() -> None:
    asked = options(
        slurm("--sbatch", "-p gpu", "--sbatch", "--comment='two words'", "--sbatch", "--mail-type=END")
    )
    assert {"-p gpu", "--comment='two words'", "--mail-type=END"} <= set(asked)


@pytest.mark.parametrize("time", ["10", "10:00", "0:10:00", "1-0", "1-00:30", "2-12:00:00", "UNLIMITED"])
def test_wall_times_that_sbatch_takes_are_taken(time: str) -> None:
    assert not [*wall_time(time)]


@pytest.mark.parametrize("time", ["banana", "", "1:2:3:4", "-5", "9", "0:09:59", "4:00", "1:00\n#SBATCH --x"])
def test_a_wall_time_in_which_no_run_can_stop_is_refused(time: str) -> None:
    (problem,) = wall_time(time)
    assert problem.where == "--time"


def test_all_that_is_wrong_is_one_message() -> None:
    words = ("--time", "5", "--sbatch", "--x\n#SBATCH --y", "--sbatch=-N9", "--cpus-per-node=2")
    done = in_process("cluster", "slurm", STUDY, *words, "-s", "sweeps.cam.resources.cpu=4", cwd=ROOT)
    assert done.returncode == 2 and not done.stdout
    assert [line.removeprefix("error: ").split(":")[0] for line in done.stderr.splitlines()] == [
        "--time", "--sbatch", "--sbatch", "--cpus-per-node",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (("slurm",), ("--cpus-per-node", "--gpus-per-node")),
        (("kuberay", "--image=x", "--claim=data", "--storage=/shared/runs"), ("--cpus", "--gpus")),
    ],
)
def test_trials_that_no_node_holds_are_refused_before_they_queue(
    words: tuple[str, ...], options: tuple[str, str]
) -> None:
    given = (f"{options[0]}=2", f"{options[1]}=0", "-s", "sweeps.cam.resources={cpu: 4, gpu: 0.5}")
    done = in_process("cluster", words[0], STUDY, *words[1:], *given, cwd=ROOT)
    assert done.returncode == 2
    first, second = done.stderr.splitlines()
    assert f"{options[0]}: is 2, but a trial of sweep 'cam' asks for 4 on one node" in first
    assert f"{options[1]}: is 0, but a trial of sweep 'cam' asks for 0.5 on one node" in second


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
    theirs = load_study_text(config["data"]["study.yaml"], source="study.yaml", base=Path("/study"))
    assert theirs.to_raw() == load_study(ROOT / STUDY).to_raw()
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
    assert len(spec["entrypoint"]) < 100 and set(spec["entrypoint"]) <= set("abcdefghijklmnopqrstuvwxyz /.")
    command = "exec wsss run /study/study.yaml --storage /shared/runs --address auto"
    assert config["data"]["run.sh"].strip() == command


def test_the_words_of_the_run_reach_it_through_kuberays_shells(tmp_path: Path) -> None:
    """KubeRay hands the entry point to `bash -ce "ray job submit … -- ENTRYPOINT"`; Ray joins its words for
    Windows' rules, and gives them to a shell on the head."""
    storage, server = "s3://b/my $(id)'\"*; runs?endpoint=http://m:9000&region=x", "http://m/$(id)'\"*;"
    search = "sweeps.cam.probe.search.lr={choice: [0.01, 0.02]}"
    done = kuberay("--storage", storage, "-s", f"tracking.uri={server}", "-s", search)
    assert done.returncode == 0, done.stderr
    config, job = yaml.safe_load_all(done.stdout)
    for name, text in config["data"].items():
        (tmp_path / name).write_text(text)
    programs = {
        "ray": "import subprocess, sys\n"
        "words = sys.argv[sys.argv.index('--') + 1:]\n"
        "sys.exit(subprocess.run(subprocess.list2cmdline(words), shell=True).returncode)",
        "wsss": f"import json, sys\nopen({str(tmp_path / 'told')!r}, 'w').write(json.dumps(sys.argv[1:]))",
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!{sys.executable}\n{text}\n")
        (tmp_path / name).chmod(0o755)
    entrypoint = job["spec"]["entrypoint"].replace("/study/", f"{tmp_path}/")
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    subprocess.run(["bash", "-ce", f"ray job submit -- {entrypoint} ;"], env=environment, check=True)
    told = json.loads((tmp_path / "told").read_text())
    assert told[told.index("--storage") + 1] == storage
    theirs = load_study_text((tmp_path / "study.yaml").read_text(), source="study.yaml", base=tmp_path)
    (probe,) = (arm for arm in theirs.sweeps[0].arms if arm.name == "probe")
    assert theirs.tracking.uri == server and probe.search["lr"].values == (0.01, 0.02)


def test_pods_get_the_paths_that_a_study_means_where_it_lies(tmp_path: Path) -> None:
    """`root: ../photos` is another folder beside `/study/study.yaml`, where pods have the study."""
    (tmp_path / "studies").mkdir()
    (tmp_path / "photos").mkdir()
    text = (ROOT / "tune_configs/voc.yaml").read_text()
    text = re.sub(r"root: \S+", "root: ../photos", text)
    text = text.replace("weights: download", "weights: ../r50.pth", 1)
    study = tmp_path / "studies" / "voc.yaml"
    study.write_text(text)
    place = ("--claim", "data", "--storage", f"{tmp_path}/runs")
    declared = ("-s", "sweeps.cam.probe.supervision=[image]")
    done = kuberay(*place, *declared, "--mount", "/shared", study=str(study))
    assert done.returncode == 2
    assert f"data.root: is {tmp_path}/photos, which the pods don't have" in done.stderr
    assert f"weights: is {tmp_path}/r50.pth, which the pods don't have" in done.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wsss.cli.machines.asked.TAKEN", ())
        done = kuberay(*place, *declared, "--mount", str(tmp_path), study=str(study))
    assert done.returncode == 0, done.stderr
    config, _ = yaml.safe_load_all(done.stdout)
    theirs = yaml.safe_load(config["data"]["study.yaml"])
    assert theirs["data"]["root"] == str(tmp_path / "photos")
    assert f"weights: {tmp_path}/r50.pth" in config["data"]["study.yaml"]


def test_names_that_kubernetes_takes_and_that_differ_where_the_studies_do() -> None:
    from wsss.cli.machines.kuberay import LONGEST_NAME, _kubernetes_name

    names = ["voc", "a.b", "a_b", "a-b", "A-b", "x" * 120, "x" * 119, "a-", "a" * 41 + ".b"]
    found = [_kubernetes_name(name) for name in names]
    assert found[0] == "wsss-voc" and len(set(found)) == len(names)
    assert all(re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", one) and len(one) <= LONGEST_NAME for one in found)


@pytest.mark.parametrize(
    "words",
    [
        ("--image", "a b"), ("--image", ""), ("--image", "-x"), ("--image", "X"), ("--memory", "banana"),
        ("--memory", "-4Gi"), ("--memory", "0Gi"), ("--memory", "32"), ("--claim", "My Claim"),
        ("--claim", "a\n"), ("--secret-env", "x;y"), ("--mount", "relative"), ("--mount", "/"),
        ("--mount", "/study"), ("--mount", "/dev/shm"), ("--mount", "/a/../dev"),
    ],
)  # fmt: skip
def test_what_kubernetes_would_refuse_is_refused(words: tuple[str, str]) -> None:
    (problem,) = pod_values(dict([words]))
    assert problem.where == words[0]


@pytest.mark.parametrize("image", ["wsss", "r.example:5000/a/wsss:cuda", "wsss@sha256:" + "0a" * 32])
def test_what_kubernetes_takes_is_taken(image: str) -> None:
    given = {"--image": image, "--memory": "1.5Gi", "--claim": "a-b.c", "--mount": "/mnt/shared-1"}
    assert not [*pod_values(given)]


def test_all_that_pods_cannot_have_is_one_message() -> None:
    words = ("--image=a b", "--memory=4", "--claim=X", "--storage=/shared/runs", "--gpus=0")
    done = in_process("cluster", "kuberay", STUDY, *words, "-s", "sweeps.cam.resources.gpu=0.5", cwd=ROOT)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 4, done.stderr


def test_photos_that_the_pods_lack_are_said_at_once() -> None:
    done = kuberay("--claim", "data", "--storage", "/shared/runs", study="tune_configs/voc.yaml")
    assert (
        done.returncode == 2
        and "data.root: is /data/VOCdevkit/VOC2012, which the pods don't have" in done.stderr
    )
    moved = ("-s", "data.root=/shared/voc")
    done = kuberay("--claim", "data", "--storage", "/shared/runs", *moved, study="tune_configs/voc.yaml")
    assert done.returncode == 0, done.stderr


def test_the_script_passes_a_linter_of_shells() -> None:
    linter = Path(sys.executable).with_name("shellcheck")
    if not linter.exists():
        pytest.skip("no shellcheck beside Python: pip install -e '.[dev]'")
    words = [str(linter), "-S", "warning", "-"]
    done = subprocess.run(words, input=slurm("--nodes", "2"), text=True, capture_output=True)
    assert done.returncode == 0, done.stdout


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
