"""Which photos are meant, how they are read, and what their results are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trained import draw_photo

from wsss.data.pictures.decode import photo_size
from wsss.errors import ConfigError, DataError
from wsss.predict.photos import find_photos, name_photos, read_photo


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_as_their_exif_data_say(orientation: int, tmp_path: Path) -> None:
    stored = np.zeros((4, 6, 3), np.uint8)
    stored[0, 0] = 255  # the corner at the first row and column
    path = tmp_path / "a.png"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(path, exif=exif)
    # Where row 0 and column 0 of the stored picture are, after the EXIF standard's table.
    corner = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}
    photo = read_photo(path)
    assert photo.shape == ((4, 6, 3) if orientation < 5 else (6, 4, 3))
    assert photo.shape[1::-1] == photo_size(path)
    assert photo[corner[orientation]].tolist() == [255, 255, 255]
    assert int(photo.sum()) == 3 * 255


@pytest.mark.parametrize("ending", ["bmp", "gif", "tif", "webp", "ppm", "jpg"])
def test_formats(ending: str, tmp_path: Path) -> None:
    pixels = draw_photo(tmp_path / f"a.{ending}", 200, 100)
    photo = read_photo(tmp_path / f"a.{ending}")
    assert photo.shape == (100, 200, 3) and photo.dtype == np.uint8
    assert np.abs(photo.astype(int) - pixels).mean() < (1 if ending in ("bmp", "tif", "ppm") else 12)


def test_sixteen_bits_become_eight_and_floats_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 256, 65535]], np.uint16)).save(tmp_path / "deep.png")
    assert read_photo(tmp_path / "deep.png")[0].tolist() == [[0] * 3, [1] * 3, [255] * 3]
    Image.fromarray(np.zeros((2, 2), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(DataError, match="mode F"):
        read_photo(tmp_path / "float.tif")


def test_a_folder_stands_for_its_images_and_nothing_is_done_twice(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "sub/c.png"):
        draw_photo(tmp_path / name)
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / ".hidden.png").write_bytes(b"")
    found = find_photos([tmp_path / "b.JPG", tmp_path, tmp_path / "sub" / ".." / "a.png"])
    assert [path.name for path in found] == ["b.JPG", "a.png"]
    with pytest.raises(ConfigError) as caught:
        find_photos([tmp_path / "x.png", tmp_path / "nowhere" / "y.png"])
    assert len(caught.value.problems) == 2


def names(*paths: str) -> list[str]:
    return [photo.name for photo in name_photos([Path(path) for path in paths])]


def test_equal_stems_get_names_of_their_own() -> None:
    assert names("/x/a.jpg", "/x/b.jpg") == ["a", "b"]
    assert names("/x/a.jpg", "/x/a.png", "/x/b.png") == ["a_jpg", "a_png", "b"]
    assert names("/x/one/a.jpg", "/x/two/a.jpg") == ["one_a", "two_a"]
    assert names("/x/one/day/a.jpg", "/x/two/day/a.jpg") == ["one_day_a", "two_day_a"]
    assert len(set(map(str.lower, names("/x/A.jpg", "/x/a.png")))) == 2


@pytest.mark.parametrize(
    "paths",
    [
        ("/x/a.jpg", "/x/a_overlay.jpg"),
        ("/x/a/b_c.jpg", "/x/a_b/c.jpg", "/y/a/b_c.jpg", "/y/a_b/c.jpg"),
        ("/a.jpg", "/a.JPG", "/b/a.jpg"),
    ],
)
def test_no_two_results_share_a_file(paths: tuple[str, ...]) -> None:
    files = [file.lower() for name in names(*paths) for file in (name, f"{name}_overlay")]
    assert len(set(files)) == 2 * len(paths)
