"""cluster.yaml is what Ray's own validator accepts, and keeps what the documentation promises."""

from __future__ import annotations

import fnmatch
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "cluster.yaml").read_text()
STARTS = ["head_start_ray_commands", "worker_start_ray_commands"]


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    return yaml.safe_load(TEXT)


def test_ray_accepts_it(cluster: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(cluster)
    validate_config(prepared)
    for key in ("setup_commands", *STARTS):
        assert prepared[key] == cluster[key], "Ray's defaults must not take the place of ours"


def test_installs_what_the_tests_run_with_and_nothing_nightly(cluster: dict[str, Any]) -> None:
    commands = " ".join(cluster["setup_commands"])
    assert "-c ~/wsss/constraints.txt -e ~/wsss" in commands
    every_command = " ".join(" ".join(value) for key, value in cluster.items() if key.endswith("_commands"))
    assert "nightly" not in every_command and "latest" not in every_command


def test_what_it_copies_exists_and_is_enough_to_install(cluster: dict[str, Any]) -> None:
    sources = [source for source in cluster["file_mounts"].values() if not source.startswith("~")]
    assert all((ROOT / source).exists() for source in sources)
    assert {"wsss", "pyproject.toml", "constraints.txt", "README.md", "LICENSE"} <= set(sources)


@pytest.mark.parametrize("role", STARTS)
def test_every_node_asks_for_the_token_and_phones_nobody(cluster: dict[str, Any], role: str) -> None:
    command = cluster[role][1]
    assert "RAY_AUTH_MODE=token" in command
    assert "RAY_USAGE_STATS_ENABLED=0" in command and "MLFLOW_DISABLE_TELEMETRY=true" in command
    assert "ulimit -n " in command
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


@pytest.mark.parametrize("role", STARTS)
def test_a_job_finds_the_python_that_was_installed(cluster: dict[str, Any], role: str) -> None:
    """`ray job submit -- python …` runs with the PATH of the process that started Ray."""
    command = cluster[role][1]
    assert command.index("PATH=$HOME/wsss-env/bin:$PATH") < command.index("ray start")


def test_the_shared_folders_are_the_same_wherever_they_are_named(cluster: dict[str, Any]) -> None:
    check = next(command for command in cluster["setup_commands"] if "/shared/" in command)
    assert "/shared/runs" in check and "/shared/data" in check
    assert "--storage /shared/runs" in TEXT and "data.root=/shared/data/" in TEXT
    assert not cluster["head_setup_commands"] and not cluster["worker_setup_commands"]


def test_one_autoscaler_that_counts_machines_right(cluster: dict[str, Any]) -> None:
    command = cluster["head_start_ray_commands"][-1]
    assert command.index("RAY_enable_autoscaler_v2=0") < command.index("ray start")


def test_ray_down_finds_ray_and_workers_leave_with_their_head(
    cluster: dict[str, Any], tmp_path: Path
) -> None:
    """`ray down` runs `ray stop` in a login shell of the head, and nothing on the workers."""
    setup = next(command for command in cluster["setup_commands"] if "wsss-bin" in command)
    for program in ("ray", "sleep"):
        place = tmp_path / ("wsss-env/bin" if program == "ray" else "bin")
        place.mkdir(parents=True, exist_ok=True)
        (place / program).write_text(f'#!/bin/sh\necho {program} "$@"\n')
        (place / program).chmod(0o755)
    environment = {"HOME": str(tmp_path), "PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
    for _ in range(2):
        subprocess.run(["bash", "-c", setup], env=environment, check=True)
    assert (tmp_path / ".bashrc").read_text().count("wsss-bin") == 1
    look = ["bash", "-c", "source ~/.bashrc; ray stop; ray status"]
    done = subprocess.run(look, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["ray stop", "sleep 15", "ray status"]
    assert "wsss.tuning.joining.leaving $RAY_HEAD_IP:6379" in cluster["worker_start_ray_commands"][-1]


def test_the_dashboard_listens_on_localhost_only(cluster: dict[str, Any]) -> None:
    assert "--dashboard-host=127.0.0.1" in cluster["head_start_ray_commands"][-1]


def test_a_dead_node_is_noticed_soon(cluster: dict[str, Any]) -> None:
    assert "RAY_health_check_failure_threshold=3" in cluster["head_start_ray_commands"][-1]


def linter(name: str) -> str:
    """Return a linter that the development packages bring."""
    found = Path(sys.executable).with_name(name)
    if not found.exists():
        pytest.skip(f"no {name} beside Python: pip install -e '.[dev]'")
    return str(found)


def lint_shell(script: str) -> None:
    words = [linter("shellcheck"), "-s", "bash", "-S", "warning", "-"]
    done = subprocess.run(words, input=script, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("file", ["cluster.yaml", "clusters/aws.yaml", "clusters/gcp.yaml"])
def test_every_command_is_shell_without_faults(file: str) -> None:
    content = yaml.safe_load((ROOT / file).read_text())
    commands = [line for key, value in content.items() if key.endswith("_commands") for line in value]
    assert len(commands) > 8
    lint_shell("\n".join(commands))


CLOUDS = ["aws", "gcp"]


@pytest.fixture(params=CLOUDS)
def cloud(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / f"clusters/{request.param}.yaml").read_text())
    return found


def test_ray_accepts_the_clouds_too_and_our_commands_stay(cloud: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(cloud)
    validate_config(prepared)
    for key in ("setup_commands", *STARTS):
        assert prepared[key] == cloud[key], "Ray's defaults must not take the place of ours"
    assert prepared["max_workers"] == 4


def test_clouds_rent_spot_workers_from_none_and_keep_nothing(cloud: dict[str, Any]) -> None:
    kinds = cloud["available_node_types"]
    assert kinds["head"]["resources"]["CPU"] == 0 and kinds["spot"]["min_workers"] == 0
    assert "spot" in str(kinds["spot"]["node_config"]).lower()
    assert cloud["idle_timeout_minutes"] <= 10
    for command in (cloud[role][-1] for role in STARTS):
        assert "RAY_AUTH_MODE=token" in command and "RAY_USAGE_STATS_ENABLED=0" in command
    assert "-c ~/wsss/constraints.txt -e ~/wsss" in " ".join(cloud["setup_commands"])
    assert "--dashboard-host=127.0.0.1" in cloud["head_start_ray_commands"][-1]
    assert all((ROOT / source).exists() for source in cloud["file_mounts"].values() if "~" not in source)


# Keys of a task by SkyPilot's reference.
SKY = {
    "name", "workdir", "num_nodes", "resources", "envs", "secrets", "volumes", "file_mounts", "setup", "run",
    "config", "service",
}  # fmt: skip


def test_the_task_for_skypilot_has_its_keys_and_runs_shell() -> None:
    task = yaml.safe_load((ROOT / "clusters/sky.yaml").read_text())
    assert set(task) <= SKY and task["resources"]["use_spot"] is True
    assert all(isinstance(value, str) for value in task["envs"].values())
    for script in (task["setup"], task["run"]):
        lint_shell(script)
    assert '--storage "$STORAGE"' in task["run"]


def test_the_image_is_pinned_runs_as_nobody_special_and_has_its_files() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert "-c constraints.txt" in text and "USER 1000" in text
    copied = [line.split()[1:-1] for line in text.splitlines() if line.startswith("COPY ")]
    sources = [source for line in copied if not line[0].startswith("--") for source in line]
    kept = (ROOT / ".dockerignore").read_text().splitlines()
    for source in sources:
        assert (ROOT / source).exists() and f"!{source}" in kept
    assert ":latest" not in text


def test_a_linter_of_dockerfiles_finds_nothing() -> None:
    words = [linter("hadolint"), "--no-color", "-"]
    done = subprocess.run(words, input=(ROOT / "Dockerfile").read_text(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_image_gets_what_it_copies_and_nothing_of_a_run() -> None:
    """`.dockerignore` as Docker reads it: the last line that matches counts."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line]

    def goes(path: str) -> bool:
        parents = [path, *map(str, Path(path).parents)]
        kept = True
        for line in lines:
            pattern = line.removeprefix("!").removeprefix("**/")
            names = [Path(one).name for one in parents] if "**/" in line else parents
            if any(fnmatch.fnmatchcase(one, pattern) for one in names if one != "."):
                kept = line.startswith("!")
        return kept

    assert all(
        goes(path) for path in ("wsss/cli/app.py", "tune_configs/voc.yaml", "constraints.txt", "LICENSE")
    )
    left = (
        "runs/mlflow.db",
        ".venv/bin/python",
        ".git/config",
        "wsss/__pycache__/a.pyc",
        "tests/toys.py",
        ".env",
    )
    assert not [path for path in left if goes(path)]
