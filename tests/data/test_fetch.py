"""Downloads from a server of our own: whole, broken off, resumed, wrong, hostile."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import in_process
from local_server import Server, serving

from wsss.data.fetching import download as downloading
from wsss.data.fetching.download import Progress, download
from wsss.data.fetching.fetch import Bars, Source, id_digest
from wsss.data.fetching.sbd_list import SbdList, fetch_list, list_problems, read_ids
from wsss.data.fetching.voc2012 import Voc2012
from wsss.errors import DataError, PreflightError


@pytest.fixture
def server() -> Iterator[str]:
    with serving() as address:
        yield address


CONTENT = bytes(range(256)) * 4000
MD5 = hashlib.md5(CONTENT).hexdigest()


def get(server: str, target: Path, md5: str = MD5) -> list[tuple[int, int]]:
    told: list[tuple[int, int]] = []
    download(f"{server}/file", target, len(CONTENT), md5, lambda done, total: told.append((done, total)))
    return told


def test_a_whole_file(server: str, tmp_path: Path) -> None:
    Server.files["/file"] = CONTENT
    told = get(server, tmp_path / "deep" / "file")
    assert (tmp_path / "deep" / "file").read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT)) and told == sorted(told)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["file"]


def test_a_break_in_the_middle_is_resumed_where_it_was(server: str, tmp_path: Path) -> None:
    Server.files["/file"] = CONTENT
    Server.cut, Server.cuts = 500_000, 1
    get(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert Server.asked == [None, "bytes=500000-"]


def test_a_later_call_goes_on(server: str, tmp_path: Path) -> None:
    Server.files["/file"] = CONTENT
    Server.cut, Server.cuts = 1000, 3
    with pytest.raises(
        PreflightError, match=r"broke off at 3000 of 1024000 bytes \(the same command goes on"
    ):
        get(server, tmp_path / "file")
    assert not (tmp_path / "file").exists()
    told = get(server, tmp_path / "file")
    assert Server.asked[-1] == "bytes=3000-"
    assert told[0][0] > 3000
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_server_that_knows_no_ranges_sends_all_again(server: str, tmp_path: Path) -> None:
    Server.files["/file"] = CONTENT
    Server.ranges = False
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    get(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing(server: str, tmp_path: Path) -> None:
    Server.files["/file"] = CONTENT
    with pytest.raises(DataError, match=f"MD5 is {MD5}, but must be {'0' * 32}"):
        get(server, tmp_path / "file", "0" * 32)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_longer_than_it_should_be(server: str, tmp_path: Path) -> None:
    Server.files["/file"] = CONTENT + b"more"
    with pytest.raises(DataError, match="sends more than the 1024000 bytes"):
        get(server, tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_no_such_file_and_no_such_server(server: str, tmp_path: Path) -> None:
    with pytest.raises(PreflightError, match=r"/file: the server answers 404 Not Found .*--from URL"):
        get(server, tmp_path / "file")
    with pytest.raises(PreflightError, match=r"can't be reached: .*is this machine on the network"):
        get("http://127.0.0.1:9", tmp_path / "file")
    with pytest.raises(PreflightError, match="must begin with http"):
        get("file:///etc", tmp_path / "file")


def test_a_full_disk_is_known_before(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 5})
    monkeypatch.setattr(downloading.shutil, "disk_usage", lambda place: usage)
    with pytest.raises(PreflightError, match=r"0\.0 GB are free, but 0\.0 GB are needed"):
        get(server, tmp_path / "file")
    assert Server.asked == []


# The devkit


def archive(root: Path, *extra: tarfile.TarInfo) -> bytes:
    """Return a tar file of a devkit, with more members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(root, "VOCdevkit/VOC2012")
        for member in extra:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return buffer.getvalue()


def fetch_archive(source: Source, folder: Path, unpacking: Progress | None = None) -> Path | None:
    """Fetch a devkit as `data fetch` does, from another archive."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Voc2012, "archive", source)
        return Voc2012.run(folder, None, Bars(unpacking=unpacking))


def source(server: str, content: bytes) -> Source:
    Server.files["/voc.tar"] = content
    digest = hashlib.md5(content).hexdigest()
    return Source("voc2012", (f"{server}/voc.tar",), bytes=len(content), md5=digest)


def test_a_devkit_is_unpacked_whole(server: str, tiny_voc: Path, tmp_path: Path) -> None:
    wanted = source(server, archive(tiny_voc))
    told: list[int] = []
    made = fetch_archive(wanted, tmp_path / "data", lambda done, total: told.append(total - done))
    assert made == tmp_path / "data/VOCdevkit/VOC2012"
    assert told[-1] == 0
    names = [path.relative_to(tiny_voc) for path in tiny_voc.rglob("*")]
    assert names and all((made / name).exists() for name in names)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["VOCdevkit"]
    assert fetch_archive(wanted, tmp_path / "data") is None
    assert len(Server.asked) == 1


@pytest.mark.parametrize("kind", ["parent", "absolute link", "device"])
def test_an_archive_that_leads_out_is_refused(kind: str, server: str, tiny_voc: Path, tmp_path: Path) -> None:
    member = tarfile.TarInfo("../../outside" if kind == "parent" else "VOCdevkit/bad")
    if kind == "absolute link":
        member.type, member.linkname = tarfile.SYMTYPE, str(tmp_path)
    elif kind == "device":
        member.type = tarfile.CHRTYPE
    else:
        member.size = 3
    with pytest.raises(DataError, match=r"voc\.tar: is refused"):
        fetch_archive(source(server, archive(tiny_voc, member)), tmp_path / "deep/data")
    assert not list(tmp_path.rglob("outside"))
    assert [path.name for path in (tmp_path / "deep/data").iterdir()] == ["voc.tar"]


def test_an_archive_of_something_else_and_a_place_that_is_taken(server: str, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError, match="holds no folder VOCdevkit/VOC2012 with JPEGImages"):
        fetch_archive(source(server, archive(tmp_path / "other")), tmp_path / "data")
    (tmp_path / "data/VOCdevkit/VOC2012").mkdir(parents=True)
    (tmp_path / "data/VOCdevkit/VOC2012/diary.txt").touch()
    with pytest.raises(DataError, match="holds something that is no VOC devkit"):
        fetch_archive(source(server, b""), tmp_path / "data")


# The list

IDS = ["2008_000007", "2007_000003", "2011_003276"]
LAYOUTS = {
    "bare": "{id}\n",
    "numbers": "{number}\n",
    "pairs": "/JPEGImages/{id}.jpg /SegmentationClassAug/{id}.png\n",
}


def id_list(server: str, text: str, ids: list[str] = IDS) -> Source:
    Server.files["/list"] = text.encode()
    return Source("sbd-list", (f"{server}/none", f"{server}/list"), count=len(ids), sha256=id_digest(ids))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_list_in_any_layout_from_the_first_address_that_works(
    layout: str, server: str, tiny_voc: Path
) -> None:
    text = "".join(layout.format(id=id, number=id.replace("_", "")) for id in IDS)
    path = fetch_list(id_list(server, text), tiny_voc)
    assert path == tiny_voc / "ImageSets/Segmentation/train_aug.txt"
    assert path.read_text().split() == sorted(IDS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2008_000007\n2007_000003\n", "lists 2 different ids in 2 lines, but must list 3"),
        ("2008_000007\n2007_000003\n2007_000003\n", "lists 2 different ids in 3 lines"),
        ("2008_000007\n2007_000003\n2011_003277\n", "lists other ids than it should"),
        ("2008_000007\n2007_000003\n2007_000005\n", "lists 1 images of val.txt, 2007_000005 for one"),
        ("<html>sorry</html>\n", "lists 0 different ids in 1 lines"),
    ],
)
def test_a_list_of_other_ids_is_refused(text: str, message: str, server: str, tiny_voc: Path) -> None:
    with pytest.raises(DataError) as caught:
        fetch_list(id_list(server, text), tiny_voc)
    assert message in str(caught.value)
    assert "the server answers 404" in str(caught.value), "of the other address"
    assert not (tiny_voc / "ImageSets/Segmentation/train_aug.txt").exists()


def test_the_real_list_would_be_accepted(voc_root: Path) -> None:
    official = voc_root / "ImageSets/Official"
    if not official.is_dir():
        pytest.skip(f"no official lists in {official}")
    ids = read_ids((official / "train_aug.txt").read_text())
    val = set((official / "val.txt").read_text().split())
    assert list_problems("", ids, SbdList.ids, val) == []
    assert len(list_problems("", [*ids[1:], sorted(val)[0]], SbdList.ids, val)) == 2


def test_the_command(server: str, tiny_voc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = id_list(server, "\n".join(IDS))
    monkeypatch.setattr(Voc2012, "archive", source(server, archive(tiny_voc)))
    monkeypatch.setattr(SbdList, "ids", listed)
    done = in_process("data", "fetch", tmp_path / "data", "--what", "sbd-list", "--what", "voc2012")
    assert done.returncode == 0, done.stderr
    devkit = tmp_path / "data/VOCdevkit/VOC2012"
    assert f"voc2012: {devkit}" in done.stdout
    assert (devkit / "ImageSets/Segmentation/train_aug.txt").read_text().split() == sorted(IDS)
    again = in_process("data", "fetch", tmp_path / "data")
    assert "was there already" in again.stdout
    other = in_process("data", "fetch", tmp_path / "new", "--from", f"{server}/list")
    assert other.returncode == 3 and "broke off" in other.stderr
    wrong = in_process("data", "fetch", tmp_path / "new", "--what", "voc2021")
    assert wrong.returncode == 2 and "did you mean 'voc2012'?" in wrong.stderr
    without = in_process("data", "fetch", tmp_path / "new", "--what", "sbd-list")
    assert without.returncode == 2 and "fetch it first" in without.stderr
