"""CAMs and masks made elsewhere: they are scored and refined like our own, and known by their content."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from command_line import in_process
from pydantic import ValidationError

from wsss.config.params.stages import ImportParams, PseudoMasksParams
from wsss.data.view import DataView
from wsss.errors import ConfigError, DataError
from wsss.files import read_json
from wsss.masks.images import read_mask, write_mask
from wsss.pipeline.chains.chain import Chain, Part, build_chain
from wsss.pipeline.chains.execute import run_chain
from wsss.pipeline.events import TrialProgress
from wsss.pipeline.past.results import chain_result
from wsss.stages import shards
from wsss.stages.kinds.scoring.scores import ScoresParams
from wsss.stages.shards import CamShards
from wsss.stages.training.pixel_labels import PixelLabels
from wsss.store.folder_store import Store

CRF = Part("pseudo_masks", "pseudo_masks", PseudoMasksParams.model_validate({"crf": {"iterations": 2}}))


@pytest.fixture(scope="module")
def exported(calm_store: Store, tiny_chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The CAMs of our own chain, as PSA would have written them."""
    folder = tmp_path_factory.mktemp("psa")
    shards = CamShards(calm_store.folder(tiny_chain["cams"].key))
    for id in shards:
        cams, keys = shards[id]
        maps: Any = {int(key): cam.astype(np.float32) for key, cam in zip(keys, cams, strict=True)}
        np.save(folder / f"{id}.npy", maps)
    return folder


def chain_of(data: DataView, **source: Path) -> Chain:
    return build_chain([Part("import", "import", ImportParams.model_validate(source)), CRF], data, 0)


def run(chain: Chain, store: Store, data: DataView) -> None:
    list(run_chain("t", chain, store, data, device="cpu", threads=1))


def scores(store: Store, chain: Chain, label: str) -> dict[str, Any]:
    found: dict[str, Any] = read_json(store.folder(chain[label].key) / "scores.json")
    return found


def test_imported_cams_score_and_refine_as_our_own(
    exported: Path, calm_store: Store, tiny_chain: Chain, tiny_view: DataView, tmp_path: Path
) -> None:
    store, chain = Store(tmp_path / "store"), chain_of(tiny_view, cams=exported)
    run(chain, store, tiny_view)
    for ours, theirs in (("cams.scores", "import.scores"), ("pseudo_masks.scores", "pseudo_masks.scores")):
        assert scores(store, chain, theirs) == scores(calm_store, tiny_chain, ours)


def test_imported_masks_are_scored(
    calm_store: Store, tiny_chain: Chain, tiny_view: DataView, tmp_path: Path
) -> None:
    folder = tmp_path / "masks"
    shutil.copytree(calm_store.folder(tiny_chain["pseudo_masks"].key), folder)
    chain = build_chain([Part("import", "import", ImportParams(masks=folder))], tiny_view, 0)
    store = Store(tmp_path / "store")
    run(chain, store, tiny_view)
    assert scores(store, chain, "import.scores") == scores(calm_store, tiny_chain, "pseudo_masks.scores")


@pytest.mark.parametrize("form", ["png", "npy", "npz"])
def test_imported_segmentations_of_test_images_are_scored_as_our_own(
    calm_store: Store, tiny_chain: Chain, tiny_view: DataView, tmp_path: Path, form: str
) -> None:
    """There is a file of every `test` image, none of `select`: nothing can be chosen, all is scored."""
    ours, folder = calm_store.folder(tiny_chain["segmentations"].key), tmp_path / "theirs"
    folder.mkdir()
    count = len(tiny_view.dataset.classes) + 1
    for id in tiny_view.test:
        mask = read_mask(ours / f"{id}.png")
        logits = (np.arange(count)[None, :, None, None] == mask[None, None]).astype(np.float32)
        if form == "png":
            shutil.copy(ours / f"{id}.png", folder)
        elif form == "npy":
            np.save(folder / f"{id}.npy", {"msc_seg": logits})  # type: ignore[arg-type]
        else:
            np.savez(folder / f"{id}.npz", prob=logits, features=np.zeros(3))
    maps = "prob" if form == "npz" else None
    params = ImportParams(segmentations=folder, maps=maps)
    chain = build_chain([Part("import", "import", params)], tiny_view, 0)
    store = Store(tmp_path / "store")
    run(chain, store, tiny_view)
    found, expected = (
        scores(store, chain, "import.scores"),
        scores(calm_store, tiny_chain, "segmentations.scores"),
    )
    assert found.pop("test") == expected["test"]
    assert found == {"kind": "segmentations", "classes": list(tiny_view.dataset.classes)}
    masks = store.folder(chain["import"].key)
    assert {path.stem for path in masks.glob("*.png")} == set(tiny_view.test)
    assert chain_result(chain, store).metrics.keys() >= {"import/test/miou", "import/test/boundary_f"}


def test_pseudo_masks_with_gaps_score_as_background_and_teach_nothing_there(
    calm_store: Store, tiny_chain: Chain, tiny_view: DataView, tmp_path: Path
) -> None:
    """As CLIP-ES writes them: 255 where its CRF isn't sure."""
    gaps, filled = tmp_path / "gaps", tmp_path / "filled"
    for folder in (gaps, filled):
        folder.mkdir()
    for path in calm_store.folder(tiny_chain["pseudo_masks"].key).glob("*.png"):
        mask = read_mask(path)
        unsure = np.zeros(mask.shape, bool)
        unsure[::3] = True
        write_mask(gaps / path.name, np.where(unsure, np.uint8(255), mask))
        write_mask(filled / path.name, np.where(unsure, np.uint8(0), mask))
    store, found = Store(tmp_path / "store"), []
    for folder, missing in ((gaps, "zero"), (filled, "error")):
        params = ImportParams.model_validate({"masks": folder, "missing": missing})
        chain = build_chain([Part("import", "import", params)], tiny_view, 0)
        run(chain, store, tiny_view)
        found.append(scores(store, chain, "import.scores"))
        if missing == "zero":
            labels = PixelLabels(tiny_view.dataset, store.folder(chain["import"].key))
            assert (labels(tiny_view.train[0])[::3] == 255).all()
    assert found[0] == found[1]
    with pytest.raises(DataError, match="so no 255; for pseudo masks with gaps say `missing: zero`"):
        run(build_chain([Part("import", "import", ImportParams(masks=gaps))], tiny_view, 0), store, tiny_view)


def test_a_segmentation_that_is_missing_is_said_before_anything_starts(
    tiny_view: DataView, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=f"{tiny_view.test[0]}.png: file is missing"):
        build_chain([Part("import", "import", ImportParams(segmentations=tmp_path))], tiny_view, 0)
    without = dataclasses.replace(tiny_view, test=())
    with pytest.raises(ConfigError, match=r"`segmentations` are scored on `data\.test`, which is missing"):
        build_chain([Part("import", "import", ImportParams(segmentations=tmp_path))], without, 0)


def test_named_arrays_are_imported_and_named_in_the_key(
    exported: Path, calm_store: Store, tiny_chain: Chain, tiny_view: DataView, tmp_path: Path
) -> None:
    folder = tmp_path / "named"
    folder.mkdir()
    for path in exported.iterdir():
        maps = np.load(path, allow_pickle=True).item()
        if maps:
            np.savez(folder / f"{path.stem}.npz", act=np.stack(list(maps.values())), cls=np.array(list(maps)))
        else:
            np.savez(folder / f"{path.stem}.npz", act=np.zeros((0, 4, 4), np.float32), cls=np.zeros(0, int))
    params = ImportParams(cams=folder, maps="act", keys="cls")
    chain = build_chain([Part("import", "import", params)], tiny_view, 0)
    store = Store(tmp_path / "store")
    run(chain, store, tiny_view)
    assert scores(store, chain, "import.scores") == scores(calm_store, tiny_chain, "cams.scores")
    assert params.content() == {"kind": "cams", "maps": "act", "keys": "cls"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "`import` takes one of `cams: FOLDER`, `masks: FOLDER` and `segmentations: FOLDER`"),
        ({"cams": "a", "segmentations": "b"}, "`import` takes one of"),
        ({"segmentations": "a", "missing": "zero"}, "`missing` belongs to `cams` and `masks`"),
        ({"segmentations": "a", "maps": "b", "keys": "c"}, "`keys` belongs to `cams`"),
        ({"masks": "a", "maps": "b"}, "`maps` belongs to `cams` and `segmentations`"),
        ({"cams": "a", "keys": "b"}, "`keys` are the classes of `maps`, which is missing"),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(given: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ImportParams.model_validate(given)
    assert message in str(caught.value)


def test_killed_after_every_chunk_it_ends_in_the_same_files(
    exported: Path, tiny_view: DataView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards.split_shards, "__defaults__", (4,))
    chain = build_chain([Part("import", "import", ImportParams(cams=exported))], tiny_view, 0).upto("import")
    calm, killed = Store(tmp_path / "calm"), Store(tmp_path / "killed")
    run(chain, calm, tiny_view)
    steps = 0
    for _ in range(20):
        events = run_chain("t", chain, killed, tiny_view, device="cpu", threads=1, checkpoint_seconds=0)
        if not any(isinstance(event, TrialProgress) and not events.close() for event in events):  # type: ignore[attr-defined]
            break
        steps += 1
    assert steps > 2
    one, two = (store.get(chain["import"].key) for store in (calm, killed))
    assert one is not None and two is not None
    assert one.record["files"] == two.record["files"]


def test_files_are_known_by_content_not_by_place(exported: Path, tiny_view: DataView, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(exported, copy)
    assert chain_of(tiny_view, cams=copy)["import"].key == chain_of(tiny_view, cams=exported)["import"].key
    other = np.load(exported / f"{tiny_view.train[0]}.npy", allow_pickle=True).item()
    changed: Any = {key: cam * 0.5 for key, cam in other.items()}
    np.save(copy / f"{tiny_view.train[0]}.npy", changed)
    view = DataView(
        **{
            name: getattr(tiny_view, name)
            for name in ("dataset", "train", "holdout", "select", "report", "test")
        }
    )
    assert chain_of(view, cams=copy)["import"].key != chain_of(tiny_view, cams=exported)["import"].key


def test_a_missing_file_is_said_before_anything_starts(
    exported: Path, tiny_view: DataView, tmp_path: Path
) -> None:
    folder = tmp_path / "few"
    shutil.copytree(exported, folder)
    (folder / f"{tiny_view.report[0]}.npy").unlink()
    with pytest.raises(DataError, match=tiny_view.report[0]):
        chain_of(tiny_view, cams=folder)


def test_maps_with_other_numbers_fail_and_gaps_are_asked_for(
    exported: Path, tiny_view: DataView, tmp_path: Path
) -> None:
    shifted, gaps = tmp_path / "shifted", tmp_path / "gaps"
    for folder in (shifted, gaps):
        folder.mkdir()
    for file in exported.iterdir():
        maps = np.load(file, allow_pickle=True).item()
        for folder, content in ((shifted, {key + 1: cam for key, cam in maps.items()}), (gaps, {})):
            np.save(folder / file.name, content)  # type: ignore[arg-type]
    store = Store(tmp_path / "store")
    for folder, hint in ((shifted, "1-based"), (gaps, "missing: zero")):
        with pytest.raises(DataError, match=hint):
            run(chain_of(tiny_view, cams=folder).upto("import"), store, tiny_view)
    asked = [Part("import", "import", ImportParams(cams=gaps, missing="zero"))]
    chain = build_chain(asked, tiny_view, 0).upto("import")
    run(chain, store, tiny_view)
    shards = CamShards(store.folder(chain["import"].key))
    assert not any(shards[id][0].any() for id in shards)


def test_keys_of_imports_are_what_they_were() -> None:
    assert ImportParams(cams=Path("x")).content() == {"kind": "cams"}
    assert ScoresParams(kind="segmentations").content() == {"kind": "segmentations"}
    assert ImportParams(masks=Path("x")).content() == {"kind": "pseudo_masks"}
    assert ImportParams(cams=Path("x"), missing="zero").content() == {"kind": "cams", "missing": "zero"}


def test_a_study_file_imports_from_a_folder_beside_it(
    tiny_study_text: str, copied_study: Path, tmp_path: Path
) -> None:
    tiny = yaml.safe_load(tiny_study_text)
    root = copied_study / "runs"
    masks = [
        p.parent
        for p in (root / "store").rglob("artefact.json")
        if json.loads(p.read_text())["stage"] == "pseudo_masks"
    ]
    shutil.copytree(masks[0], tmp_path / "theirs")
    tiny["name"] = "theirs"
    tiny["sweeps"] = [{"name": "masks", "arms": {
        "theirs": {"stages": [{"import": {"masks": "theirs"}}], "supervision": ["image"]},
    }}]  # fmt: skip
    done = in_process("run", _written(tmp_path / "theirs.yaml", tiny), "--local", "--storage", root)
    assert done.returncode == 0, done.stderr
    assert "theirs" in done.stdout
    tiny["data"]["test"] = {"split": "val"}
    devkit = next((root / "data").iterdir())
    (tmp_path / "segmented").mkdir()
    for id in (devkit / "ImageSets/Segmentation/val.txt").read_text().split():
        mask = read_mask(devkit / f"SegmentationClass/{id}.png")
        np.save(tmp_path / f"segmented/{id}.npy", np.where(mask == 255, 0, mask))
    whole = {"stages": [{"import": {"segmentations": "segmented"}}], "supervision": ["masks"]}
    tiny["sweeps"][0]["arms"]["whole"] = whole
    tiny["name"] = "whole"
    for sweep in ({}, {"metric": "import/select/miou"}):
        tiny["sweeps"][0].update(sweep)
        done = in_process("run", _written(tmp_path / "whole.yaml", tiny), "--local", "--storage", root)
        if sweep:
            assert done.returncode == 2 and "`metric` is 'import/select/miou'" in done.stderr
        else:
            assert done.returncode == 0, done.stderr
            table = in_process("compare", "whole", "--storage", root, "--format", "json")
            rows = {row["arm"]: row["cells"] for row in json.loads(table.stdout)["rows"]}
            assert rows["whole"]["import"]["miou"] == 1 and rows["whole"]["import"]["select"] is None
    del tiny["sweeps"][0]["metric"], tiny["sweeps"][0]["arms"]["whole"]
    tiny["sweeps"][0]["arms"]["theirs"]["stages"] = [{"import": {"cam": "theirs"}}]
    wrong = in_process("plan", _written(tmp_path / "wrong.yaml", tiny), "--storage", root)
    assert wrong.returncode == 2
    assert "unknown key `cam` (did you mean 'cams'?)" in wrong.stderr


def _written(path: Path, content: Any) -> Path:
    path.write_text(yaml.safe_dump(content))
    return path


def test_all_bad_files_of_a_folder_are_said_at_once(
    exported: Path, tiny_view: DataView, tmp_path: Path
) -> None:
    folder = tmp_path / "with blank and ö"
    shutil.copytree(exported, folder)
    bad = sorted(folder.iterdir())[:3]
    for path, content in zip(bad, (b"", b"no array", b"\x93NUMPY" + b"\xff" * 40), strict=True):
        path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        run(chain_of(tiny_view, cams=folder).upto("import"), Store(tmp_path / "store"), tiny_view)
    assert {problem.where for problem in caught.value.problems} == {str(path) for path in bad}
