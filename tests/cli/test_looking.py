"""What only looks leaves nothing behind, says it in a screen, and repeats no secret."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from command_line import in_process
from tiny_devkit import TINY

from wsss.errors import LONGEST

SCREEN = LONGEST + 300
SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    "words",
    [
        ("plan", "tiny.yaml"),
        ("plan", "tiny.yaml", "--json"),
        ("resume", "tiny", "--local"),
        ("compare",),
        ("sync",),
        ("storage", "ls"),
        ("storage", "prune"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("storage", [(), ("--storage", "deep/new")], ids=["default", "given"])
def test_a_storage_that_is_not_there_is_not_made(
    words: tuple[str, ...], storage: tuple[str, ...], tiny_study: Path
) -> None:
    before = sorted(tiny_study.parent.rglob("*"))
    done = in_process(*words, *storage, cwd=tiny_study.parent)
    assert done.returncode == (0 if words[0] == "plan" or (words[0] == "storage" and not storage) else 2)
    assert sorted(tiny_study.parent.rglob("*")) == before


def test_data_check_prints_a_screen_and_json_has_everything(tiny_voc: Path) -> None:
    lists = tiny_voc / "ImageSets" / "Segmentation" / "train.txt"
    lists.write_text(
        "".join(f"{id}\n" for id in (*TINY["train"], *(f"id{number}" for number in range(1500))))
    )
    begun = time.process_time()
    done = in_process("data", "check", tiny_voc, "--split", "train")
    assert time.process_time() - begun < 20  # it was 40 s: every message looked through the environment
    assert done.returncode == 2
    assert len(done.stdout.encode()) < SCREEN + LONGEST // 2
    assert "more problems: `--json` has them all" in done.stdout
    found = json.loads(in_process("data", "check", tiny_voc, "--split", "train", "--json").stdout)
    assert len(found["problems"]) >= 3000
    name = "x" * 9000
    assert len(in_process("data", "check", tiny_voc, "--split", name).stdout) < SCREEN


@pytest.mark.parametrize(
    "words",
    [
        (f"https://u:{SECRET}@h",),
        ("compare", "--format", f"https://u:{SECRET}@h"),
        ("run", f"--https://u:{SECRET}@h"),
        ("run", "x", f"s3://b/x?secret_key={SECRET}"),
        ("data", "check", f"u:{SECRET}@h/x"),
        ("data", "sample", "x", "--train", f"https://h/?token={SECRET}"),
        ("compare", "--format", "x" * 100_000),
        ("x" * 100_000,),
    ],
    ids=lambda words: " ".join(words)[:40],
)
def test_no_error_of_usage_repeats_a_secret_or_fills_the_screen(words: tuple[str, ...]) -> None:
    done = in_process(*words)
    assert done.returncode == 2
    assert SECRET not in done.stdout + done.stderr
    assert len((done.stdout + done.stderr).encode()) < SCREEN


@pytest.mark.parametrize("given", ["--address", "RAY_ADDRESS"])
@pytest.mark.parametrize("verb", ["run", "plan", "cluster check"])
def test_the_address_of_a_cluster_is_looked_at_before_all_else(
    verb: str, given: str, tiny_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"ray://u:{SECRET}@h:10001"
    if given == "RAY_ADDRESS":
        monkeypatch.setenv(given, address)
    option = ["--address", address] if given == "--address" else []
    done = in_process(*verb.split(), tiny_study, *option, "--storage", "new", cwd=tiny_study.parent)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {given}: is 'ray://…@h:10001' with a password")
    assert os.listdir(tiny_study.parent) == ["tiny.yaml"]


def test_links_in_a_circle_are_one_message(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "s.yaml").write_text("")
    for words in (("data", "check", "loop"), ("data", "sample", "loop"), ("data", "check", "~nobody-here/x")):
        done = in_process(*words, cwd=tmp_path)
        assert done.returncode in (2, 3) and "a fault of wsss" not in done.stderr, done.stderr
