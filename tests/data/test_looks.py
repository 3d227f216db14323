"""A copy of a photo that was resized, saved again or brightened looks like it; other photos don't."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from wsss.config import DataSpec
from wsss.data.pictures import looks as module
from wsss.data.pictures.fingerprint import Fingerprint, Fingerprints, inspect
from wsss.data.pictures.looks import look_alikes, look_of, telling_cells
from wsss.data.view import DataView, open_data

ALL = np.ones(256, bool)
RNG = np.random.default_rng


def saved_again(photo: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def resized(photo: Image.Image, share: float) -> Image.Image:
    return photo.resize((int(photo.width * share), int(photo.height * share)))


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "quality 60": lambda photo: saved_again(photo, 60),
    "half": lambda photo: saved_again(resized(photo, 0.5), 85),
    "square": lambda photo: photo.resize((224, 224)),
    "twice": lambda photo: resized(photo, 2),
    "brighter": lambda photo: ImageEnhance.Brightness(photo).enhance(1.1),
    "darker": lambda photo: ImageEnhance.Brightness(photo).enhance(0.9),
    "grey": lambda photo: photo.convert("L").convert("RGB"),
    "all": lambda photo: ImageEnhance.Brightness(saved_again(resized(photo, 0.5), 60)).enhance(1.1),
}


def noisy(pixels: np.ndarray, spread: float, seed: int) -> Image.Image:
    noise = RNG(seed).normal(0, spread, pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def flat(seed: int) -> Image.Image:
    return noisy(np.full((128, 128, 3), RNG(seed).integers(20, 235)), 4 * (seed % 2), seed)


def sky(seed: int) -> Image.Image:
    """Return a slow gradient with a small dark bar."""
    low, high = RNG(seed).integers([120, 180], [170, 250])
    pixels = np.broadcast_to(np.linspace(low, high, 128)[:, None, None], (128, 128, 3)).copy()
    x, y = RNG(seed).integers(20, 90, 2)
    pixels[y : y + 4, x : x + 16] = 60
    return noisy(pixels, 2, seed)


def drawing(seed: int) -> Image.Image:
    """Return a disc in the middle of white paper."""
    photo = Image.new("RGB", (128, 128), "white")
    x, y, radius = RNG(seed).integers([50, 50, 10], [78, 78, 30])
    ImageDraw.Draw(photo).ellipse([x - radius, y - radius, x + radius, y + radius], fill="navy")
    return photo


def slide(seed: int, *, field: bool = False, vignette: bool = False) -> Image.Image:
    """Return cells on a plain ground; with the round field of a microscope, or with dark corners."""
    photo = Image.new("RGB", (256, 256), "black" if field else "lightgrey")
    draw = ImageDraw.Draw(photo)
    if field:
        draw.ellipse([8, 8, 248, 248], fill="lightgrey")
    for x, y, radius in RNG(seed).integers([50, 50, 4], [206, 206, 12], (12, 3)):
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill="dimgrey")
    y, x = np.mgrid[:256, :256] / 255 - 0.5
    dark = 160 * (x**2 + y**2) if vignette else 0 * x
    return noisy(np.asarray(photo) - dark[..., None], 3, seed)


SCENES: dict[str, Callable[[int], Image.Image]] = {
    "flat": flat,
    "sky": sky,
    "drawing": drawing,
    "cells": slide,
    "round field": lambda seed: slide(seed, field=True),
    "dark corners": lambda seed: slide(seed, vignette=True),
}


def alike(mine: list[str], theirs: list[str]) -> list[tuple[int, int]]:
    return look_alikes(mine, theirs, telling_cells(mine + theirs))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> DataView:
    """The embedded sample set as studies draw it by default."""
    return open_data(DataSpec(dataset="sample"), storage=tmp_path_factory.mktemp("sample"))


@pytest.fixture(scope="module")
def sample(drawn: DataView) -> list[Image.Image]:
    return [drawn.dataset.image(id) for name in ("train", "val") for id in drawn.dataset.split(name)]


def test_the_sample_raises_no_alarm_and_each_of_its_photos_has_a_look(
    drawn: DataView, sample: list[Image.Image]
) -> None:
    assert drawn.warnings == ()
    found = [look_of(photo) for photo in sample]
    assert all(found)
    for bit in range(8):  # any two places differ in one
        sides = ([look for place, look in enumerate(found) if place >> bit & 1 == side] for side in (0, 1))
        assert alike(*sides) == []


@pytest.mark.parametrize("copy", COPIES)
def test_copies_look_like_their_photo(copy: str, sample: list[Image.Image]) -> None:
    chosen = sample[::8]
    found = alike([look_of(COPIES[copy](photo)) for photo in chosen], [look_of(photo) for photo in sample])
    assert found == [(number, 8 * number) for number in range(len(chosen))]


def test_copies_of_real_photos_are_found_and_others_are_not(voc_root: Path) -> None:
    photos = [
        Image.open(path).convert("RGB") for path in sorted((voc_root / "JPEGImages").glob("*.jpg"))[:30]
    ]
    originals = [look_of(photo) for photo in photos]
    assert all(originals)
    for copy in COPIES.values():
        assert alike([look_of(copy(photo)) for photo in photos], originals) == [(n, n) for n in range(30)]


@pytest.mark.parametrize("scene", SCENES)
def test_plain_pictures_raise_no_alarm(scene: str) -> None:
    found = [look_of(SCENES[scene](seed)) for seed in range(40)]
    assert alike(found[:20], found[20:]) == []
    if scene in ("flat", "sky", "drawing"):
        assert not any(found), "nearly all of it is ground"


def test_what_all_photos_share_is_why_a_round_field_raises_none() -> None:
    found = [look_of(slide(seed, field=True)) for seed in range(40)]
    assert look_alikes(found[:20], found[20:], ALL)


def test_few_photos_share_by_chance(sample: list[Image.Image]) -> None:
    assert telling_cells([look_of(photo) for photo in sample[:3]] * 2).all()
    assert telling_cells([]).all() and telling_cells([""] * 50).all()


def test_a_cell_tells_by_its_surroundings() -> None:
    """The look of a photo by the definition, cell by cell."""
    photo = Image.fromarray(RNG(4).integers(0, 256, (16, 16, 3), np.uint8)).filter(ImageFilter.BoxBlur(1))
    grey = np.asarray(photo.convert("L")).astype(int).tolist()
    brighter, darker = "", ""
    for y in range(16):
        for x in range(16):
            around = [
                grey[min(max(y + dy, 0), 15)][min(max(x + dx, 0), 15)]
                for dy in (-1, 0, 1)
                for dx in (-1, 0, 1)
            ]
            above = grey[y][x] - Fraction(sum(around), 9)
            brighter += str(int(above >= 1))
            darker += str(int(above <= -1))
    assert bin(int.from_bytes(base64.b64decode(look_of(photo))))[2:].zfill(512) == brighter + darker


def made_up(count: int, seed: int) -> list[str]:
    """Return looks near one of five, so that many pairs lie about the limit, and some too empty ones."""
    rng = RNG(seed)
    bases = RNG(0).integers(-1, 2, (5, 256))
    found = [""]
    for number in range(count - 1):
        changed = rng.random(256) < rng.uniform(0, 0.3)
        code = np.where(changed, rng.integers(-1, 2, 256), bases[number % 5])
        code[: rng.integers(0, 160)] = 0
        found.append(base64.b64encode(np.packbits(np.stack([code > 0, code < 0])).tobytes()).decode())
    return found


def test_look_alikes_are_those_of_a_second_implementation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 7)
    mine, theirs, cells = made_up(60, 1), made_up(45, 2), RNG(3).random(256) < 0.9
    where = int("".join(str(int(cell)) for cell in cells), 2)

    def halves(look: str) -> tuple[int, int]:
        number = int.from_bytes(base64.b64decode(look)) if look else 0
        return (number >> 256) & where, number & (2**256 - 1) & where

    def are_alike(one: str, two: str) -> bool:
        (up, down), (their_up, their_down) = halves(one), halves(two)
        count, others = (up | down).bit_count(), (their_up | their_down).bit_count()
        agree = (up & their_up).bit_count() + (down & their_down).bit_count()
        agree -= (up & their_down).bit_count() + (down & their_up).bit_count()
        return min(count, others) >= 96 and Fraction(2 * agree, count + others) >= Fraction(4, 5)

    expected = []
    for number, look in enumerate(mine):
        first = next((place for place, other in enumerate(theirs) if are_alike(look, other)), None)
        if first is not None:
            expected.append((number, first))
    assert look_alikes(mine, theirs, cells) == expected
    assert 10 < len(expected) < 50 and any(place >= 7 for _, place in expected)
    shares = [
        sum(halves(look)[side] >> (255 - cell) & 1 for look in mine if look)
        for side in (0, 1)
        for cell in range(256)
    ]
    count = sum(map(bool, mine))
    kept = [abs(shares[cell] - shares[256 + cell]) <= count / 2 for cell in range(256)]
    assert telling_cells(mine)[cells].tolist() == [kept[cell] for cell in np.flatnonzero(cells)]


def test_a_look_is_remembered_and_enters_no_key(sample: list[Image.Image], tmp_path: Path) -> None:
    path, memory = tmp_path / "a.png", tmp_path / "memory.json"
    sample[0].save(path)
    found = inspect(("photo", path))
    assert isinstance(found, Fingerprint) and found.look == look_of(sample[0])
    assert found.identity == found.sha256
    for _ in range(2):
        assert Fingerprints(memory).take([("photo", path)])[0][path] == found
    mask = tmp_path / "mask.png"
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(mask)
    (other,) = Fingerprints(None).take([("mask", mask)])[0].values()
    assert other.look == ""


def test_a_memory_from_before_there_were_looks_is_looked_at_again(
    sample: list[Image.Image], tmp_path: Path
) -> None:
    path, memory = tmp_path / "a.png", tmp_path / "memory.json"
    sample[0].save(path)
    Fingerprints(memory).take([("photo", path)])
    written = json.loads(memory.read_text())
    lines = {name: line[:-1] for name, line in written["files"].items()}
    memory.write_text(json.dumps({"version": 3, "files": lines}))
    assert Fingerprints(memory).take([("photo", path)])[0][path].look == look_of(sample[0])
    lines[str(path)].append("no look")
    memory.write_text(json.dumps({"version": 4, "files": lines}))
    assert Fingerprints(memory).take([("photo", path)])[0][path].look == look_of(sample[0])
