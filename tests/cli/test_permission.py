"""A study starts programs of others only when somebody said that it may."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from command_line import in_process

from wsss.launch.permission import LINE, permission_file

STUDY = """\
data: {dataset: sample, sample: {train: 6, val: 4, size: 64}, select: {split: train, half: a}, report: {split: train, half: b}}
sweeps:
  - name: files
    arms:
      one:
        stages: [command: {as: theirs, makes: files, run: [sh, -c, 'echo hello > "$$0/x"', "{out}"], folder: code, supervision: [image]}]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "code").mkdir()
    (tmp_path / "code/a.txt").write_text("code\n")
    (tmp_path / "s.yaml").write_text(STUDY)
    return tmp_path


def test_without_permission_nothing_starts_and_the_programs_are_named(folder: Path) -> None:
    done = in_process("run", "s.yaml", "--local", "--storage", "runs", cwd=folder)
    assert done.returncode == 3
    assert "files, arm one, theirs: sh -c echo hello" in done.stderr and f"[in {folder}/code]" in done.stderr
    assert "--allow-commands" in done.stderr and "Traceback" not in done.stderr
    assert not (folder / "runs").exists()
    planned = in_process("plan", "s.yaml", "--storage", "runs", cwd=folder)
    assert planned.returncode == 0 and "sh -c echo hello" in planned.stdout


def test_a_call_may_allow_it_and_the_next_asks_again(folder: Path) -> None:
    done = in_process("run", "s.yaml", "--local", "--storage", "runs", "--allow-commands", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert not permission_file().exists()
    for words in (("run", "s.yaml"), ("resume", "s"), ("run", "s")):
        refused = in_process(*words, "--local", "--storage", "runs", cwd=folder)
        assert refused.returncode == 3 and "would start this program" in refused.stderr


def test_a_machine_may_allow_it_for_good(folder: Path) -> None:
    done = in_process("run", "s.yaml", "--local", "--storage", "runs", "--always-allow-commands", cwd=folder)
    assert done.returncode == 0, done.stderr
    path = permission_file()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and LINE in path.read_text()
    assert in_process("resume", "s", "--local", "--storage", "runs", cwd=folder).returncode == 0
    path.chmod(0o666)
    refused = in_process("resume", "s", "--local", "--storage", "runs", cwd=folder)
    assert refused.returncode == 3 and "nobody else can write" in refused.stderr
    path.chmod(0o600)
    path.write_text("allow-commands: false\n")
    refused = in_process("resume", "s", "--local", "--storage", "runs", cwd=folder)
    assert refused.returncode == 3 and f"doesn't say `{LINE}`" in refused.stderr


def test_a_study_without_programs_needs_none(folder: Path) -> None:
    (folder / "s.yaml").write_text(
        STUDY.replace("command: {", "import: {").replace("as: theirs, makes: files,", "cams: x,")
    )
    done = in_process("run", "s.yaml", "--local", "--storage", "runs", cwd=folder)
    assert "would start" not in done.stderr
