"""`predict` as a person uses it: what it writes, what it says of bad photos, and what it never overwrites."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import in_process
from PIL import Image
from trained import CLASSES, draw_photo

from wsss.config.params.stages import SegmentationCrfParams
from wsss.masks.crf import probabilities_to_mask_with_crf
from wsss.masks.images import overlay, read_mask
from wsss.masks.segmentation import segment
from wsss.stages.training.segmentation_network import load_segmenter
from wsss.store.artefact import Artefact


def areas_of(folder: Path) -> Any:
    return json.loads((folder / "areas.json").read_text())


def words(photos: Path, model: str, storage: Path, *more: object) -> list[object]:
    """Return the words of `predict`, whose files go into `out` beside the photos."""
    out = photos.parent / "out"
    return ["predict", photos, "--model", model, "-o", out, "--storage", storage, *more]


@pytest.mark.parametrize("crf", [False, True])
def test_masks_overlays_and_areas_are_those_of_segment(
    crf: bool, tmp_path: Path, storage: Path, segmenter: Artefact
) -> None:
    sizes = [(96, 64), (96, 64), (72, 80), (96, 64)]
    photos = [draw_photo(tmp_path / "in" / f"p{n}.png", *size, seed=n) for n, size in enumerate(sizes)]
    out = tmp_path / "out"
    how = ["--scales", "1,0.75", "--flip", "--overlay", "png", "--batch", 2, "--device", "cpu"]
    more = ["--crf"] if crf else []
    run = in_process(*words(tmp_path / "in", segmenter.key[:8], storage, *how, *more))
    assert run.returncode == 0, run.stderr
    shares = next(line for line in run.stdout.splitlines() if line.startswith("Shares of 4 masks: "))
    network = load_segmenter(segmenter.folder)
    written = areas_of(out)
    background = np.mean([entry["areas"]["background"]["share"] for entry in written["photos"].values()])
    told = float(shares.split("background ")[1].split(" %")[0])
    assert told == pytest.approx(100 * background, abs=0.51)
    assert list(written["photos"]) == ["p0", "p1", "p2", "p3"]
    seen = set()
    for number, photo in enumerate(photos):
        scores = segment(network, photo, scales=(1.0, 0.75), flip=True, device="cpu")
        expected = scores.argmax(0)
        if crf:
            expected = probabilities_to_mask_with_crf(photo, scores, SegmentationCrfParams())
        mask = read_mask(out / f"p{number}.png")
        # Photos of a batch may differ by rounding from one alone; a pixel on the edge may turn over.
        assert (mask != expected).mean() < 2e-3
        with Image.open(out / f"p{number}_overlay.png") as picture:
            assert np.array_equal(np.asarray(picture), np.asarray(overlay(photo, mask)))
        entry = written["photos"][f"p{number}"]
        assert entry["model"] == segmenter.key
        assert (entry["height"], entry["width"]) == mask.shape == photo.shape[:2]
        assert list(entry["areas"]) == sorted(("background", *CLASSES))
        for id, name in enumerate(("background", *CLASSES)):
            assert entry["areas"][name]["pixels"] == (mask == id).sum()
            assert entry["areas"][name]["share"] == pytest.approx((mask == id).mean())
        seen |= set(np.unique(mask))
    assert len(seen) > 1, "a network that says one thing everywhere tests nothing"


def test_json_is_what_the_file_holds(tmp_path: Path, storage: Path, segmenter: Artefact) -> None:
    draw_photo(tmp_path / "a.jpg")
    run = in_process(*words(tmp_path / "a.jpg", segmenter.key, storage, "--json"))
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == areas_of(tmp_path / "out")


def test_bad_photos_are_listed_at_the_end_and_the_others_done(
    tmp_path: Path, storage: Path, segmenter: Artefact
) -> None:
    photos = tmp_path / "in"
    draw_photo(photos / "good.png")
    (photos / "text.jpg").write_text("no photo")
    content = (photos / "good.png").read_bytes()
    (photos / "cut.png").write_bytes(content[: len(content) // 2])
    run = in_process(*words(photos, segmenter.key, storage))
    assert run.returncode == 1
    assert "2 photos could not be done" in run.stderr
    assert "text.jpg" in run.stderr and "cut.png" in run.stderr
    assert sorted(areas_of(tmp_path / "out")["photos"]) == ["good"]
    assert not (tmp_path / "out" / "cut.png").exists()
    assert "pending" not in areas_of(tmp_path / "out")


def test_what_is_wrong_with_the_command_is_said_before_anything_starts(tmp_path: Path, storage: Path) -> None:
    draw_photo(tmp_path / "holiday.png")
    (tmp_path / "empty").mkdir()
    base = ["--model", "whatever", "--storage", storage]
    run = in_process("predict", tmp_path / "holidax.png", tmp_path / "empty", "-o", tmp_path / "out", *base)
    assert run.returncode == 2
    assert "did you mean 'holiday.png'?" in run.stderr
    assert "there is no image in this folder" in run.stderr
    run = in_process("predict", "--device", "tpu")
    assert run.returncode == 2
    assert all(word in run.stderr for word in ("--model", "IMAGE", "'tpu'"))
    for scales in ("", "x", "1,0", "1;2", "nan"):
        run = in_process(
            "predict", tmp_path / "holiday.png", "-o", tmp_path / "out", "--scales", scales, *base
        )
        assert run.returncode == 2 and "--scales" in run.stderr
    assert not (tmp_path / "out").exists()


def test_a_second_run_does_what_is_missing_and_overwrites_nothing(
    tmp_path: Path, storage: Path, segmenter: Artefact
) -> None:
    photos, out = tmp_path / "in", tmp_path / "out"
    base = words(photos, segmenter.key, storage)
    draw_photo(photos / "a.png")
    assert in_process(*base).returncode == 0
    first = (out / "a.png").stat().st_mtime_ns
    draw_photo(photos / "b.png", seed=1)
    run = in_process(*base)
    assert run.returncode == 0 and "Segmented 1 photos, 1 were there already" in run.stdout
    assert (out / "a.png").stat().st_mtime_ns == first

    run = in_process(*base, "--scales", "1")
    assert run.returncode == 2 and "exists already" in run.stderr and "--force" in run.stderr
    assert (out / "a.png").stat().st_mtime_ns == first
    assert in_process(*base, "--scales", "1", "--force").returncode == 0
    assert areas_of(out)["photos"]["a"]["settings"]["scales"] == [1.0]
    assert (out / "a.png").stat().st_mtime_ns != first


def test_a_stopped_run_goes_on(tmp_path: Path, storage: Path, segmenter: Artefact, monkeypatch: Any) -> None:
    from wsss.predict import output as module

    for number in range(3):
        draw_photo(tmp_path / "in" / f"p{number}.png", seed=number)
    base = words(tmp_path / "in", segmenter.key, storage)
    real, calls = module.write_overlay, []

    def stop_at_second(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(*arguments)

    monkeypatch.setattr(module, "write_overlay", stop_at_second)
    assert in_process(*base).returncode == 130
    assert areas_of(tmp_path / "out")["pending"] == ["p1", "p2"]
    assert (tmp_path / "out" / "p1.png").exists()  # without its overlay
    monkeypatch.setattr(module, "write_overlay", real)
    run = in_process(*base)
    assert run.returncode == 0, run.stderr
    assert "Segmented 2 photos, 1 were there already" in run.stdout
    assert "pending" not in areas_of(tmp_path / "out")


def test_a_photo_is_never_overwritten(tmp_path: Path, storage: Path, segmenter: Artefact) -> None:
    draw_photo(tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    run = in_process(*words(tmp_path / "a.png", segmenter.key, storage, "-o", tmp_path, "--force"))
    assert run.returncode == 2 and "is one of the photos" in run.stderr
    assert (tmp_path / "a.png").read_bytes() == before
    assert not (tmp_path / "areas.json").exists()


def test_a_foreign_areas_file_is_not_overwritten(tmp_path: Path, storage: Path, segmenter: Artefact) -> None:
    draw_photo(tmp_path / "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "areas.json").write_text('{"mine": 1}')
    base = words(tmp_path / "a.png", segmenter.key, storage)
    assert in_process(*base).returncode == 2
    assert (tmp_path / "out" / "areas.json").read_text() == '{"mine": 1}'
    assert in_process(*base, "--force").returncode == 0
