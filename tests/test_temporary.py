"""Folders for sockets: short, writable, and nobody else's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from wsss import temporary
from wsss.errors import PreflightError
from wsss.temporary import LONGEST, look_at_temporary_folder, own_folder, shorten, shorten_for_ray

ROOT = Path(__file__).parents[1]
NAMED = "session_2026-11-26_01-12-09_123456_4194304/sockets/plasma_store.1"


@pytest.fixture
def long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A TMPDIR of more than 150 characters, as batch systems make them."""
    folder = tmp_path / ("job." + "x" * 150)
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    return folder


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A short folder that stands for /tmp."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="w") as folder:
        monkeypatch.setattr(temporary, "SHORT", (folder,))
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        yield Path(folder)


def test_rays_longest_socket_fits_into_the_longest_folder() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="w") as folder:
        place = Path(folder + "/" + "x" * (LONGEST - len(folder) - 1))
        path = place / "ray" / NAMED
        path.parent.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(path))  # raises when it is too long


def test_a_long_folder_is_replaced_by_a_short_one_of_ones_own(long: Path, short: Path) -> None:
    shorten()
    assert os.environ["TMPDIR"] == tempfile.gettempdir() == str(short / f"wsss-{os.getuid()}")
    assert Path(os.environ["TMPDIR"]).stat().st_mode & 0o777 == 0o700
    shorten()
    assert len(list(short.iterdir())) == 1, "one for all runs"


def test_a_short_folder_stays(monkeypatch: pytest.MonkeyPatch, short: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(short))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    shorten_for_ray()
    assert os.environ["TMPDIR"] == str(short) and "RAY_TMPDIR" not in os.environ


def test_what_somebody_else_put_there_is_not_used(long: Path, short: Path, tmp_path: Path) -> None:
    name = short / f"wsss-{os.getuid()}"
    name.symlink_to(tmp_path)
    assert own_folder() == ""
    name.unlink()
    name.mkdir(mode=0o777)
    name.chmod(0o777)
    assert own_folder() == "", "others may write to it"


def test_where_another_user_has_taken_ray_it_goes_to_a_folder_of_ones_own(
    monkeypatch: pytest.MonkeyPatch, short: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(short))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    (short / "ray").touch()  # as good as a folder that can't be written, also for root
    shorten_for_ray()
    assert os.environ["RAY_TMPDIR"] == str(short / f"wsss-{os.getuid()}")
    monkeypatch.delenv("RAY_TMPDIR")


def test_no_folder_at_all_is_one_message(
    long: Path, short: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(temporary, "SHORT", (str(tmp_path / "file"),))
    shorten()  # other verbs may need none
    with pytest.raises(PreflightError, match=r"^TMPDIR: none of .* can be written, .*RAY_TMPDIR=/tmp"):
        shorten_for_ray()


def test_a_long_or_unwritable_ray_tmpdir_is_one_message(
    long: Path, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(long))
    with pytest.raises(
        PreflightError, match=rf"^RAY_TMPDIR: is \d+ bytes long, .* leave it {LONGEST} .*RAY_TMPDIR=/tmp"
    ):
        shorten_for_ray()
    assert look_at_temporary_folder()[0] == "bad"
    (short / "f").touch()
    monkeypatch.setenv("RAY_TMPDIR", str(short / "f"))
    with pytest.raises(PreflightError, match=r"^RAY_TMPDIR: .*which can't be written"):
        shorten_for_ray()


@pytest.mark.timeout(120)
def test_processes_find_each_other_under_a_long_folder(long: Path) -> None:
    """Without a short one, the fork server dies of its socket's path."""
    code = (
        "import multiprocessing\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from wsss.temporary import shorten\n"
        "if __name__ == '__main__':\n"
        "    shorten()\n"
        "    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context('forkserver'))\n"
        "    print(pool.submit(abs, -3).result())\n"
    )
    script = long.parent / "pool.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=100,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout == "3\n", done.stderr
