"""What may be a photo or a mask, and that every reader sees the same."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import wsss.data.pictures.opening as module
from wsss.data.photo_set import PhotoSet
from wsss.data.pictures.decode import decode_mask, decode_photo, open_photo, photo_size
from wsss.data.pictures.fingerprint import Fingerprint, Fingerprints, inspect
from wsss.data.pictures.opening import FORMATS, MOST_PIXELS, PHOTO_ENDINGS, read_bytes
from wsss.data.pictures.sizes import resize_mask, shrink_mask, shrunk, working_size
from wsss.data.readers.folder import FolderDataset
from wsss.errors import DataError
from wsss.masks.images import read_mask
from wsss.predict.photos import find_photos, read_photo


def refused(path: Path) -> str:
    """Return the one message of all readers."""
    found = inspect(("photo", path))
    assert isinstance(found, tuple) and len(found) == 1, "the data check takes it"
    for read in (lambda: read_photo(path), lambda: decode_photo(read_bytes(path), path)):
        with pytest.raises(DataError) as caught:
            read()
        assert caught.value.problems == found
    assert found[0].where == str(path)
    return str(found[0])


def colours(height: int = 30, width: int = 40) -> np.ndarray:
    """Smooth colours, which JPEG keeps."""
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * x // width, 255 * y // height, 0 * x + 90], -1).astype(np.uint8)


def set_with(path: Path) -> FolderDataset:
    (path.parent / "labels.csv").write_text(f"image,labels\n{path.name},cat\n")
    return FolderDataset(path.parent)


@pytest.mark.parametrize("ending", [*PHOTO_ENDINGS, ".JPG", ".Jpeg", ".AVIF"])
def test_every_allowed_ending_is_a_photo_everywhere(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"
    format = next(name for name, endings in FORMATS.items() if ending.lower() in endings)
    Image.fromarray(colours()).save(path, format)
    assert find_photos([tmp_path]) == [path]
    data = set_with(path)
    assert data.split("all") == ("a",)
    expected = np.asarray(Image.open(path, formats=[format]).convert("RGB"))
    assert np.array_equal(np.asarray(data.image("a")), expected)
    assert np.array_equal(read_photo(path), expected)
    assert isinstance(inspect(("photo", path)), Fingerprint)


def test_postscript_called_jpg_starts_no_other_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *words, **more: pytest.fail(f"starts {words}"))
    path = tmp_path / "a.jpg"
    Image.fromarray(colours()).save(path, "EPS")
    assert "it is EPS, none of JPEG, PNG" in refused(path)
    with pytest.raises(DataError, match="EPS"):
        photo_size(path)


@pytest.mark.parametrize("format", ["TGA", "ICO", "PCX", "DDS", "SGI", "JPEG2000"])
def test_formats_that_nobody_needs_are_refused(format: str, tmp_path: Path) -> None:
    Image.fromarray(colours(32, 32)).save(tmp_path / "a.png", format)
    assert "no image format known, none of JPEG, PNG" in refused(tmp_path / "a.png")


def test_a_phones_heif_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    assert "it is HEIF" in refused(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0garbage",
        b"Exif\0\0MM\0*\0\0",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\x02\0\0\0\x04abc\0\0\0\0\0",  # orientation is text
        b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\x03\0\0\0\x01\0\x63\0\0\0\0\0\0",  # orientation is 99
    ],
)
@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
def test_broken_exif_means_upright(exif: bytes, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{ending}"
    Image.fromarray(colours()).save(path, exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Pillow's, of the data that it can't read
        assert set_with(path).image("a").size == photo_size(path) == (40, 30)
        assert read_photo(path).shape == (30, 40, 3)
        found = inspect(("photo", path))
    assert isinstance(found, Fingerprint) and found.size == (40, 30)


UNWRITABLE = (
    b"Exif\0\0MM\0*\0\0\0\x08\0\xac\1\x0f\0\2\0\0\0\6\0\0\0J\1\x12\0\3\0\0\0\1\0\6\0\0\1\x1a\0\5\0\0\0\1\0\0\0P\1R"
    b"\0\2\0\0\0\5\0\0\0X\x87i\0\4\0\0\0\1\0\0\0^A\0\0\0Maker\0\0\0\0H\0\0\0\x012020\0\0\0\2\x90\3\0\2\0\0\0\2x\0"
    b"\0\0\x92\4\0\x0c\0\0\0\1\0\0\0|\0\0\0\x92?\xe0\0\0\0\0\0\0"
)
"""Says how the photo was held; when Pillow turns one, it writes the other tags anew, which raises here."""


def test_what_can_be_read_of_broken_exif_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(colours()).save(path, exif=UNWRITABLE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert set_with(path).image("a").size == photo_size(path) == (30, 40)
        assert read_photo(path).shape == (40, 30, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["tif", "jpg", "webp"])
def test_the_size_in_the_header_is_that_of_the_upright_photo(
    orientation: int, ending: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{ending}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(colours()).save(path, exif=exif)
    photo = open_photo(path.read_bytes(), path)
    assert photo_size(path) == photo.image.size == photo.size == ((40, 30) if orientation < 5 else (30, 40))


def test_sixteen_grey_bits_look_the_same_to_all(tmp_path: Path) -> None:
    """Pillow's own conversion would turn all but the darkest of them white."""
    path = tmp_path / "a.png"
    Image.fromarray(np.array([[0, 255, 256, 0x80FF, 0xFFFF]], np.uint16)).save(path)
    expected = [[0] * 3, [0] * 3, [1] * 3, [128] * 3, [255] * 3]
    assert read_photo(path)[0].tolist() == expected
    assert np.asarray(set_with(path).image("a"))[0].tolist() == expected
    found = inspect(("photo", path))
    assert isinstance(found, Fingerprint) and found.deep
    assert found.identity != found.sha256, "what was made of it in white is made again"


@pytest.mark.parametrize(("kind", "mode"), [(np.float32, "F"), (np.int32, "I")])
def test_numbers_of_unknown_range_are_refused_by_all(kind: type, mode: str, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((2, 2), kind)).save(tmp_path / "a.tif")
    assert f"pixels of mode {mode}, whose range isn't known" in refused(tmp_path / "a.tif")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "P+bytes"])
def test_every_mode_looks_the_same_to_all(mode: str, tmp_path: Path) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    picture = Image.fromarray(colours()).convert(mode.partition("+")[0])
    more = {"transparency": bytes(range(256))} if mode == "P+bytes" else {}
    picture.save(path, **more)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen = np.asarray(set_with(path).image("a"))
    assert np.array_equal(seen, read_photo(path))
    assert np.array_equal(seen, np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("ending", ["gif", "webp", "png", "tif", "avif"])
def test_animations_and_documents_are_refused(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{ending}"
    first, second = (Image.fromarray(picture) for picture in (colours(), 255 - colours()))
    first.save(path, save_all=True, append_images=[second])
    assert "holds 2 pictures, but must hold one" in refused(path)


def test_the_first_picture_of_a_cameras_file_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    first, second = (Image.fromarray(picture) for picture in (colours(), 255 - colours()))
    first.save(path, "MPO", save_all=True, append_images=[second])
    assert np.abs(read_photo(path).astype(int) - colours()).mean() < 12
    path = tmp_path / "b.tif"
    small = first.resize((20, 15))
    small.encoderinfo = {"tiffinfo": {0xFE: 1}}
    first.save(path, save_all=True, append_images=[small])
    assert np.array_equal(read_photo(path), colours())


def png(width: int, height: int, *, depth: int = 8, kind: int = 2, data: bytes = b"") -> bytes:
    """Return a PNG with this header, whatever its pixels are."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("width", [MOST_PIXELS // 1000 + 1, 10**6])
def test_one_limit_of_pixels_names_file_size_and_limit(width: int, tmp_path: Path) -> None:
    """Beyond Pillow's own limit, too, whose message names neither file nor size."""
    path = tmp_path / "a.png"
    path.write_bytes(png(width, 1000))
    expected = f"{path}: photo has {width} × 1000 pixels, but may have at most 178,956,970"
    assert refused(path).startswith(expected)
    with pytest.raises(DataError, match="178,956,970"):
        photo_size(path)
    path.write_bytes(png(width, 1000, kind=0))
    with pytest.raises(DataError, match=f"a.png: mask has {width} × 1000 pixels, .* 178,956,970"):
        read_mask(path)


def test_large_photos_below_the_limit_warn_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(100_000, 1000))
    code = (
        f"from pathlib import Path; from wsss.data.pictures.decode import photo_size;"
        f"print(photo_size(Path({str(tmp_path / 'a.png')!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("(100000, 1000)", "")


def message_of(content: bytes, path: Path) -> str:
    try:
        decode_photo(content, path)
    except DataError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("format", FORMATS)
def test_whatever_is_wrong_with_the_bytes_the_file_is_named(format: str, tmp_path: Path) -> None:
    """Cut short everywhere, and with bytes flipped: a message or a photo, nothing else."""
    content = io.BytesIO()
    Image.fromarray(colours()).save(content, format)
    whole = content.getvalue()
    random = np.random.default_rng(0)
    path = tmp_path / "a.jpg"
    for number in range(60):
        damaged = bytearray(whole[: int(random.integers(len(whole)))] if number % 2 else whole)
        for place in random.integers(0, max(1, len(damaged)), 6 if damaged else 0):
            damaged[place] = int(random.integers(256))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            message = message_of(bytes(damaged), path)
        assert message == "" or message.startswith(f"{path}: ")


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    for look in (read_bytes, photo_size):
        with pytest.raises(DataError, match=r"a\.jpg: can't be read: it is no file"):
            look(tmp_path / "a.jpg")
    with (tmp_path / "b.jpg").open("wb") as file:
        file.truncate(2**31 + 1)
    with pytest.raises(DataError, match=r"b\.jpg: has 2,147,483,649 bytes, but may have at most"):
        read_bytes(tmp_path / "b.jpg")


# Masks


@pytest.mark.parametrize(
    ("mode", "message"),
    [("1", "save 0 for background and 1 for the class"), ("I;16", "8 bits a pixel"), ("RGB", "not colours")],
)
def test_other_modes_of_masks_are_refused_with_a_way_out(mode: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new(mode, (4, 3)).save(path)
    with pytest.raises(DataError, match=rf"a\.png: mask's mode is {mode}, but must be P or L \(.*{message}"):
        decode_mask(path.read_bytes(), path)


@pytest.mark.parametrize("format", ["JPEG", "GIF", "BMP", "TIFF", "WEBP", "EPS"])
def test_a_mask_is_a_png(format: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (40, 30)).save(path, format)
    for read in (read_mask, lambda path: decode_mask(path.read_bytes(), path)):
        with pytest.raises(DataError, match=r"a\.png: mask is something else, but must be a palette"):
            read(path)


@pytest.mark.parametrize("depth", [2, 4])
def test_grey_levels_of_few_bits_are_no_ids(depth: int, tmp_path: Path) -> None:
    """Pillow spreads them: 1 of 4 bits is read as 17, which is another class."""
    path = tmp_path / "a.png"
    path.write_bytes(png(2, 1, depth=depth, kind=0, data=zlib.compress(b"\0\x11")))
    with pytest.raises(DataError, match=r"a\.png: mask is something else"):
        decode_mask(path.read_bytes(), path)


# Large photos


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((500, 375), (500, 375)),
        ((1024, 1024), (1024, 1024)),
        ((4000, 3000), (1182, 886)),
        ((3000, 4000), (886, 1182)),
        ((2_000_000, 1), (2**20, 1)),
        ((1, 2_000_000), (1, 2**20)),
    ],
)
def test_the_working_size(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert working_size(*size) == expected


def test_smaller_copies_have_at_most_the_pixels_asked_for() -> None:
    random = np.random.default_rng(0)
    for _ in range(2000):
        width, height = (int(10 ** random.uniform(0, 5)) for _ in range(2))
        most = int(10 ** random.uniform(0, 6))
        small = shrunk(width, height, most)
        assert min(small) >= 1 and small[0] * small[1] <= max(most, 1)
        assert small[0] <= width and small[1] <= height


def large(root: Path, ending: str = "jpg", orientation: int = 1) -> PhotoSet:
    """Return a set whose one photo, of 2000 × 1500 pixels, has a bright lower right quarter and a mask of it."""
    pixels = np.full((1500, 2000, 3), 40, np.uint8)
    pixels[750:, 1000:] = 220
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(root / f"a.{ending}", exif=exif)
    (root / "masks").mkdir()
    ids = (pixels[..., 0] > 100).astype(np.uint8)
    Image.fromarray(ids if orientation == 1 else np.rot90(ids, -1)).save(root / "masks/a.png")
    (root / "labels.csv").write_text("image,labels\na,cat\n")
    return FolderDataset(root, masks=root / "masks")


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_stages_see_a_smaller_copy_of_photo_and_mask(ending: str, orientation: int, tmp_path: Path) -> None:
    data = large(tmp_path, ending, orientation)
    photo, mask = np.asarray(data.image("a")), data.mask("a")
    assert photo.shape[:2] == mask.shape == ((886, 1182) if orientation == 1 else (1182, 886))
    inside, outside = photo[mask == 1], photo[mask == 0]
    assert abs(inside.mean() - 220) < 2 and abs(outside.mean() - 40) < 2
    assert mask.mean() == pytest.approx(0.25, abs=0.002)
    whole = (2000, 1500) if orientation == 1 else (1500, 2000)
    assert photo_size(tmp_path / f"a.{ending}") == whole == read_photo(tmp_path / f"a.{ending}").shape[1::-1]


def test_masks_come_back_to_their_photos_size() -> None:
    mask = np.random.default_rng(0).integers(0, 5, (3000, 4000), dtype=np.uint8)
    small = shrink_mask(mask)
    assert small.shape == (886, 1182)
    again = resize_mask(small, (4000, 3000))
    assert again.shape == mask.shape and np.array_equal(shrink_mask(again), small)
    ordinary = mask[:375, :500]
    assert shrink_mask(ordinary) is ordinary


def test_keys_know_how_a_photo_is_read_and_ordinary_ones_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large(tmp_path)
    found = inspect(("photo", tmp_path / "a.jpg"))
    assert isinstance(found, Fingerprint) and found.size == (2000, 1500)
    assert found.identity == f"{found.sha256} at most 1048576 pixels"
    memory = tmp_path / "memory.json"
    Fingerprints(memory).take([("photo", tmp_path / "a.jpg")])
    prints, _ = Fingerprints(memory).take([("photo", tmp_path / "a.jpg")])
    assert prints[tmp_path / "a.jpg"] == found
    Image.fromarray(colours()).save(tmp_path / "b.png")
    ordinary = inspect(("photo", tmp_path / "b.png"))
    assert isinstance(ordinary, Fingerprint) and ordinary.identity == ordinary.sha256


def test_the_limit_is_ours_whatever_pillows_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(colours()).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    monkeypatch.setattr(module, "MOST_PIXELS", 1000)
    assert "photo has 40 × 30 pixels, but may have at most 1,000" in refused(tmp_path / "a.png")
