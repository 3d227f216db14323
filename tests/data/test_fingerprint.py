from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import wsss.data.pictures.fingerprint as module
import wsss.data.pool as pool
from wsss.data.pictures.fingerprint import Fingerprint, Fingerprints
from wsss.errors import Problem, StageError


def photos(root: Path) -> list[Path]:
    return sorted((root / "JPEGImages").glob("*.jpg"))


def take(prints: Fingerprints, paths: list[Path]) -> tuple[dict[Path, Fingerprint], list[Problem]]:
    return prints.take([("photo", path) for path in paths])


def forbid_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    def inspect(file: object) -> None:
        raise AssertionError(f"looked at {file}")

    monkeypatch.setattr(module, "inspect", inspect)


def test_fingerprints_are_what_they_say(tiny_voc: Path, tmp_path: Path) -> None:
    prints, problems = take(Fingerprints(None), photos(tiny_voc))
    assert not problems
    assert len(prints) == 6
    for path, found in prints.items():
        assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert found.size == (40, 30)
    mask = tiny_voc / "SegmentationClass/2007_000003.png"
    masks, _ = Fingerprints(None).take([("mask", mask)])
    assert (masks[mask].ids, masks[mask].size) == ((0, 8, 12, 255), (40, 30))


def test_a_second_look_is_spared(tiny_voc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = tmp_path / "cache/fingerprints.json"
    first, _ = take(Fingerprints(memory), photos(tiny_voc))
    forbid_looking(monkeypatch)
    again, problems = take(Fingerprints(memory), photos(tiny_voc))
    assert again == first
    assert not problems
    assert [path.name for path in memory.parent.iterdir()] == ["fingerprints.json"]


def test_a_memory_that_can_not_be_written_is_done_without(
    tiny_voc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, content: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(module, "write_atomic", refuse)
    prints, problems = take(Fingerprints(tmp_path / "fingerprints.json"), photos(tiny_voc))
    assert len(prints) == 6 and not problems


def test_a_changed_file_is_looked_at_again(tiny_voc: Path, tmp_path: Path) -> None:
    memory = tmp_path / "fingerprints.json"
    paths = photos(tiny_voc)
    before, _ = take(Fingerprints(memory), paths)
    time = paths[0].stat().st_mtime_ns
    paths[0].write_bytes(paths[0].read_bytes() + b"\0")
    os.utime(paths[0], ns=(time, time))  # the size alone gives it away
    swapped = paths[1].read_bytes()[:-3] + b"\0" + paths[1].read_bytes()[-2:]
    paths[1].write_bytes(swapped)
    os.utime(paths[1], ns=(time + 10**9, time + 10**9))  # the time alone gives it away
    after, _ = take(Fingerprints(memory), paths)
    assert [before[path] == after[path] for path in paths] == [False, False, True, True, True, True]


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b"[1]", b"\0\0", b"\xff\xfe{\0}\0", b"[" * 100_000, b'{"version": 0}'),
        *(b'{"version": 99, "files": 3}', b'{"version": 2}', b'{"version": 2, "files": 3}'),
        *(b'{"version": 2, "files": {"a": 3}}', b'{"version": 2, "files": {"a": [1, 2, 3, 4, 5, 6]}}'),
        b'{"version": 2, "files": {"a": [' + b"9" * 5000 + b"]}}",
    ],
)
def test_a_damaged_memory_is_no_obstacle(tiny_voc: Path, tmp_path: Path, content: bytes) -> None:
    memory = tmp_path / "fingerprints.json"
    memory.write_bytes(content)
    prints, _ = take(Fingerprints(memory), photos(tiny_voc))
    assert len(prints) == 6
    assert len(json.loads(memory.read_text())["files"]) == 6


def test_a_digit_changed_in_the_memory_is_not_believed(tiny_voc: Path, tmp_path: Path) -> None:
    memory = tmp_path / "fingerprints.json"
    first, _ = take(Fingerprints(memory), photos(tiny_voc))
    digest = next(iter(first.values())).sha256
    other = ("1" if digest[0] == "0" else "0") + digest[1:]
    memory.write_text(memory.read_text().replace(digest, other))
    assert take(Fingerprints(memory), photos(tiny_voc))[0] == first


def test_the_memory_of_a_version_without_checksums_is_used(
    tiny_voc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = tmp_path / "fingerprints.json"
    first, _ = take(Fingerprints(memory), photos(tiny_voc))
    content = json.loads(memory.read_text())
    del content["sha256"]
    memory.write_text(json.dumps(content))
    forbid_looking(monkeypatch)
    assert take(Fingerprints(memory), photos(tiny_voc))[0] == first


def test_all_problems_are_found_and_none_is_remembered(tiny_voc: Path, tmp_path: Path) -> None:
    paths = photos(tiny_voc)
    paths[0].write_bytes(paths[0].read_bytes()[:-300])
    paths[1].write_bytes(b"not a photo")
    paths[2].write_bytes(b"")
    paths[3].unlink()
    memory = tmp_path / "fingerprints.json"
    for _ in range(2):
        prints, problems = take(Fingerprints(memory), paths)
        assert list(prints) == paths[4:]
        assert [problem.where for problem in problems] == [str(path) for path in paths[:4]]
        assert "photo can't be decoded" in problems[0].message
        assert "truncated" in problems[0].message
        assert "no image format known" in problems[1].message
        assert "no image format known" in problems[2].message
        assert problems[3].message == "file is missing"


def test_processes_find_the_same(tiny_voc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "WORTH_A_POOL", 2)
    paths = photos(tiny_voc)
    paths[2].write_bytes(b"broken")
    calls: list[tuple[int, int]] = []
    many = Fingerprints(None).take(
        [("photo", path) for path in paths],
        workers=2,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert many == take(Fingerprints(None), paths)
    assert calls == [(done, 6) for done in range(7)]


def test_a_process_that_dies_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "WORTH_A_POOL", 2)
    with pytest.raises(StageError, match="a worker process died"):
        list(pool.map_files(os._exit, [1, 1, 1], workers=2))


def test_needs_no_torch() -> None:
    code = "import sys, wsss.data.view, wsss.data.check, wsss.data.batches.augment; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
