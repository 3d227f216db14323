"""cluster.yaml is what Ray's own validator accepts, and keeps what the documentation promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def test_ray_accepts_it(cluster: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(cluster))


def test_installs_what_the_tests_run_with_and_nothing_nightly(cluster: dict[str, Any]) -> None:
    commands = " ".join(cluster["setup_commands"])
    assert "-c ~/wsss/constraints.txt -e ~/wsss" in commands
    assert "nightly" not in (ROOT / "cluster.yaml").read_text()


@pytest.mark.parametrize("role", ["head_start_ray_commands", "worker_start_ray_commands"])
def test_every_node_asks_for_the_token_and_phones_nobody(cluster: dict[str, Any], role: str) -> None:
    command = cluster[role][-1]
    assert "RAY_AUTH_MODE=token" in command
    assert "RAY_USAGE_STATS_ENABLED=0" in command and "MLFLOW_DISABLE_TELEMETRY=true" in command
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


def test_the_dashboard_listens_on_localhost_only(cluster: dict[str, Any]) -> None:
    assert "--dashboard-host=127.0.0.1" in cluster["head_start_ray_commands"][-1]
