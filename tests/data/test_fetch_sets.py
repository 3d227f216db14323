"""COCO and the pets from a server of our own, in the layout of the real archives."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_made_up import write_coco
from command_line import in_process
from local_server import Server, serving
from PIL import Image

from wsss.config import DataSpec
from wsss.data.fetching.archives import unpack
from wsss.data.fetching.fetch import FETCHES, Fetch, id_digest
from wsss.data.readers.coco import CocoDataset
from wsss.data.readers.folder import FolderDataset
from wsss.data.view import open_data
from wsss.errors import DataError
from wsss.masks.images import read_mask

PETS = [("Abyssinian_1", 1), ("beagle_7", 2), ("Bengal_3", 1), ("pug_12", 2), ("Sphynx_9", 1), ("boxer_4", 2)]
TRIMAP = np.array([[2, 2, 2, 2], [2, 3, 3, 2], [3, 1, 1, 3]], np.uint8)


@pytest.fixture
def server() -> Iterator[str]:
    with serving() as address:
        yield address


def zipped(root: Path, *names: str, **more: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(f"{name}/", b"")
            for path in sorted((root / name).iterdir()):
                archive.write(path, f"{name}/{path.name}")
        for name, content in more.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def serve(kind: type[Fetch], server: str, contents: dict[str, bytes]) -> Any:
    """Return the archives of a set, of other contents, from our server."""
    archives = []
    for source in kind.archives:  # type: ignore[attr-defined]
        content = contents[source.name]
        name = source.urls[0].rsplit("/", 1)[-1]
        Server.files[f"/{name}"] = content
        digest = hashlib.sha256(content).hexdigest()
        archives.append(replace(source, urls=(f"{server}/{name}",), bytes=len(content), sha256=digest))
    return tuple(archives)


# COCO


@pytest.fixture
def coco(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = write_coco(tmp_path / "theirs")
    (root / "annotations/captions_train2014.json").write_text("{}")
    (root / "annotations/person_keypoints_val2014.json").write_text("{}")
    contents = {name: zipped(root, name) for name in ("annotations", "train2014", "val2014")}
    kind = FETCHES["coco2014"]
    monkeypatch.setattr(kind, "archives", serve(kind, server, contents))
    dataset = CocoDataset(root, cache=tmp_path / "cache")
    lists = {name: (len(dataset.split(name)), id_digest(dataset.split(name))) for name in ("train", "val")}
    monkeypatch.setattr(kind, "lists", lists)
    return root


def test_coco_is_fetched_archive_by_archive_and_opens(coco: Path, tmp_path: Path) -> None:
    done = in_process("data", "fetch", "coco2014", tmp_path / "data")
    made = tmp_path / "data/coco2014"
    assert done.returncode == 0, done.stderr
    assert f"coco2014: {made}" in done.stdout
    assert sorted(path.name for path in made.iterdir()) == ["annotations", "train2014", "val2014"]
    assert sorted(path.name for path in (made / "annotations").iterdir()) == [
        "instances_train2014.json",
        "instances_val2014.json",
    ]
    for folder in ("train2014", "val2014"):
        for path in (coco / folder).iterdir():
            assert (made / folder / path.name).read_bytes() == path.read_bytes()
    view = open_data(DataSpec(dataset="coco", root=made), storage=tmp_path / "runs", workers=1)
    assert view.has_masks
    asked = len(Server.asked)
    again = in_process("data", "fetch", "coco2014", tmp_path / "data")
    assert "was there already" in again.stdout and len(Server.asked) == asked
    for path in (made / "val2014").iterdir():
        path.unlink()
    (made / "val2014").rmdir()
    assert in_process("data", "fetch", "coco2014", tmp_path / "data").returncode == 0
    assert len(Server.asked) == asked + 1, "what is there is not fetched again"


def test_another_address_is_that_of_the_folder_with_the_archives(
    coco: Path, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind: Any = FETCHES["coco2014"]
    for path in list(Server.files):
        Server.files[f"/mirror{path}"] = Server.files.pop(path)
    dead = in_process("data", "fetch", "coco2014", tmp_path / "data")
    assert dead.returncode == 3 and "annotations_trainval2014.zip: the server answers 404" in dead.stderr
    done = in_process("data", "fetch", "coco2014", tmp_path / "data", "--from", f"{server}/mirror/")
    assert done.returncode == 0, done.stderr
    other = {**kind.lists, "val": (kind.lists["val"][0], "0" * 64)}
    monkeypatch.setattr(kind, "lists", other)
    wrong = in_process("data", "fetch", "coco2014", tmp_path / "data")
    assert (
        wrong.returncode == 2 and "list val has 4 images, not the 4 that the field trains on" in wrong.stderr
    )


@pytest.mark.parametrize("damage", ["a byte", "cut short"])
def test_an_archive_of_another_content_is_refused(coco: Path, tmp_path: Path, damage: str) -> None:
    content = Server.files["/val2014.zip"]
    if damage == "a byte":
        Server.files["/val2014.zip"] = content[:99] + bytes([content[99] ^ 1]) + content[100:]
    else:
        Server.cut, Server.cuts = 500, 100
    done = in_process("data", "fetch", "coco2014", tmp_path / "data")
    if damage == "a byte":
        assert done.returncode == 2 and "SHA-256 is" in done.stderr
    else:
        assert done.returncode == 3 and "the connection broke off" in done.stderr
    assert not (tmp_path / "data/coco2014/val2014").exists()
    Server.files["/val2014.zip"], Server.cuts = content, 0
    assert in_process("data", "fetch", "coco2014", tmp_path / "data").returncode == 0


@pytest.mark.parametrize("name", ["../outside", "/outside", "val2014/../../outside", "val2014\\..\\outside"])
def test_a_zip_that_leads_out_is_refused(name: str, tmp_path: Path) -> None:
    root = write_coco(tmp_path / "theirs", 3, 3)
    archive = tmp_path / "deep/x.zip"
    archive.parent.mkdir()
    archive.write_bytes(zipped(root, "val2014", **{name: b"x"}))
    with pytest.raises(DataError, match=r"x\.zip: is refused: .* would be written elsewhere"):
        unpack(archive, tmp_path / "deep/data/val2014", "val2014", lambda name: True)
    assert not list(tmp_path.rglob("outside")) and not list((tmp_path / "deep/data").glob("*"))


def test_links_lies_and_other_files_are_refused(tmp_path: Path) -> None:
    root, archive = write_coco(tmp_path / "theirs", 3, 3), tmp_path / "x.zip"
    link = zipfile.ZipInfo("val2014/link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr(link, "/etc/passwd")
    target = tmp_path / "data/val2014"
    with pytest.raises(DataError, match="'val2014/link' is no plain file"):
        unpack(archive, target, "val2014", lambda name: True)
    archive.write_bytes(zipped(root, "train2014"))
    with pytest.raises(DataError, match="holds no folder val2014"):
        unpack(archive, target, "val2014", lambda name: True)
    for content in (b"text", zipped(root, "val2014")[:-30]):
        archive.write_bytes(content)
        with pytest.raises(DataError, match="can't be unpacked"):
            unpack(archive, target, "val2014", lambda name: True)
    assert not target.exists() and [path.name for path in (tmp_path / "data").glob("*")] == []


# Pets


def jpeg(seed: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (3, 4, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def png(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def pet_archives(trimap: np.ndarray = TRIMAP, without: str = "") -> dict[str, bytes]:
    """The files of both archives as they are: with boxes, MATLAB's files and another system's notes."""
    lines = [f"{name} {k} {species} 1" for k, (name, species) in enumerate(PETS, 1)]
    annotations = {
        "annotations/README": b"text",
        "annotations/list.txt": ("#Image CLASS-ID SPECIES BREED ID\n" + "\n".join(lines)).encode(),
        "annotations/trainval.txt": "\n".join(lines[:4]).encode() + b"\n",
        "annotations/test.txt": "\n".join(lines[4:]).encode() + b"\n",
        "annotations/xmls/Abyssinian_1.xml": b"<annotation/>",
    }
    images = {"images/Abyssinian_100.mat": b"matlab", "images/unlisted_1.jpg": jpeg(99)}
    for k, (name, _) in enumerate(PETS):
        annotations[f"annotations/trimaps/{name}.png"] = png(trimap)
        annotations[f"annotations/trimaps/._{name}.png"] = b"note"
        images[f"images/{name}.jpg"] = jpeg(k)
    images.pop(without, None)
    return {"annotations": tarred(annotations), "images": tarred(images)}


def serve_pets(server: str, monkeypatch: pytest.MonkeyPatch, **more: Any) -> None:
    monkeypatch.setattr(FETCHES["pets"], "archives", serve(FETCHES["pets"], server, pet_archives(**more)))


def test_pets_become_a_folder_of_photos_with_masks(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_pets(server, monkeypatch)
    monkeypatch.chdir(tmp_path)
    done = in_process("data", "fetch", "pets")
    assert done.returncode == 0, done.stderr
    root = tmp_path / "data/pets"
    assert f"pets: {root}" in done.stdout and [path.name for path in root.parent.iterdir()] == ["pets"]
    assert (root / "labels.csv").read_text().splitlines()[:3] == [
        "image,label",
        "Abyssinian_1.jpg,cat",
        "beagle_7.jpg,dog",
    ]
    assert "CC BY-SA 4.0" in (root / "README.txt").read_text()
    dataset = FolderDataset(root, masks=root / "masks")
    assert dataset.classes == ("cat", "dog") and dataset.problems == ()
    assert dataset.split("trainval") == ("Abyssinian_1", "beagle_7", "Bengal_3", "pug_12")
    assert dataset.split("test") == ("Sphynx_9", "boxer_4") and len(dataset.split("masked")) == 6
    assert read_mask(root / "masks/beagle_7.png").tolist() == [[0] * 4, [0, 255, 255, 0], [255, 2, 2, 255]]
    assert read_mask(root / "masks/Abyssinian_1.png").max() == 255 and dataset.mask("Bengal_3")[2, 1] == 1
    assert (root / "images/pug_12.jpg").read_bytes() == jpeg(3)
    check = in_process("data", "check", root)
    assert check.returncode == 0 and "0 problems in 6 images" in check.stdout, check.stdout
    again = in_process("data", "fetch", "pets", "data")
    assert "was there already" in again.stdout and len(Server.asked) == 2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"without": "images/pug_12.jpg"}, "images/pug_12.jpg: is in no archive"),
        ({"trimap": TRIMAP + 3}, "annotations/trimaps/Abyssinian_1.png: is no trimap of 1, 2 and 3"),
    ],
)
def test_pets_that_lack_something_leave_nothing(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: Any, message: str
) -> None:
    serve_pets(server, monkeypatch, **more)
    done = in_process("data", "fetch", tmp_path / "data", "--what", "pets")
    assert done.returncode == 2 and message in done.stderr
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        "annotations.tar.gz",
        "images.tar.gz",
    ]


def test_a_place_that_is_taken_and_words_that_mean_nothing(tmp_path: Path) -> None:
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets/diary.txt").touch()
    taken = in_process("data", "fetch", "pets", tmp_path)
    assert taken.returncode == 2 and "holds something else (choose another folder)" in taken.stderr
    two = in_process("data", "fetch", "pet", tmp_path)
    assert two.returncode == 2 and "did you mean 'pets'?" in two.stderr
    wrong = in_process("data", "fetch", tmp_path, "--what", "coco2041")
    assert wrong.returncode == 2 and "did you mean 'coco2014'?" in wrong.stderr


def test_what_can_be_fetched_says_what_it_is_and_has_checksums() -> None:
    assert FETCHES.names() == ("coco2014", "pets", "sbd-list", "voc2012")
    assert all(kind.about for kind in FETCHES.values())
    archives = [one for name in ("coco2014", "pets") for one in FETCHES[name].archives]  # type: ignore[attr-defined]
    assert all(one.bytes > 10**7 and len(one.sha256) == 64 for one in archives)
    assert json.dumps([one.urls for one in archives])
