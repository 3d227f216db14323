"""cluster.yaml is what Ray's own validator accepts, and keeps what the documentation promises."""

from __future__ import annotations

import subprocess
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
    command = cluster[role][-1]
    assert "RAY_AUTH_MODE=token" in command
    assert "RAY_USAGE_STATS_ENABLED=0" in command and "MLFLOW_DISABLE_TELEMETRY=true" in command
    assert "ulimit -n " in command
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


@pytest.mark.parametrize("role", STARTS)
def test_a_job_finds_the_python_that_was_installed(cluster: dict[str, Any], role: str) -> None:
    """`ray job submit -- python …` runs with the PATH of the process that started Ray."""
    command = cluster[role][-1]
    assert command.index("PATH=$HOME/wsss-env/bin:$PATH") < command.index("ray start")


def test_the_shared_folders_are_the_same_wherever_they_are_named(cluster: dict[str, Any]) -> None:
    check = next(command for command in cluster["setup_commands"] if "/shared/" in command)
    assert "/shared/runs" in check and "/shared/data" in check
    assert "--storage /shared/runs" in TEXT and "data.root=/shared/data/" in TEXT
    assert not cluster["head_setup_commands"] and not cluster["worker_setup_commands"]


def test_the_dashboard_listens_on_localhost_only(cluster: dict[str, Any]) -> None:
    assert "--dashboard-host=127.0.0.1" in cluster["head_start_ray_commands"][-1]


def test_a_dead_node_is_noticed_soon(cluster: dict[str, Any]) -> None:
    assert "RAY_health_check_failure_threshold=3" in cluster["head_start_ray_commands"][-1]


def test_every_command_is_shell(cluster: dict[str, Any]) -> None:
    commands = [line for key, value in cluster.items() if key.endswith("_commands") for line in value]
    for command in commands:
        done = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
