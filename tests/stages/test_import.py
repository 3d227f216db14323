"""CAMs and masks made elsewhere: they are scored and refined like our own, and known by their content."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from command_line import in_process

from wsss.config.params.stages import ImportParams, PseudoMasksParams
from wsss.data.view import DataView
from wsss.errors import DataError
from wsss.files import read_json
from wsss.pipeline.chains.chain import Chain, Part, build_chain
from wsss.pipeline.chains.execute import run_chain
from wsss.pipeline.events import TrialProgress
from wsss.stages import imported
from wsss.stages.shards import CamShards
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


def test_killed_after_every_chunk_it_ends_in_the_same_files(
    exported: Path, tiny_view: DataView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imported, "split_shards", lambda ids: [ids[n : n + 4] for n in range(0, len(ids), 4)])
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
    with pytest.raises(ValueError, match="belongs to `cams`"):
        ImportParams(masks=gaps, missing="zero")


def test_keys_of_imports_are_what_they_were() -> None:
    assert ImportParams(cams=Path("x")).content() == {"kind": "cams"}
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
        "theirs": {"stages": [{"import": {"masks": "theirs"}}]},
    }}]  # fmt: skip
    done = in_process("run", _written(tmp_path / "theirs.yaml", tiny), "--local", "--storage", root)
    assert done.returncode == 0, done.stderr
    assert "theirs" in done.stdout
    tiny["sweeps"][0]["arms"]["theirs"]["stages"] = [{"import": {"cam": "theirs"}}]
    wrong = in_process("plan", _written(tmp_path / "wrong.yaml", tiny), "--storage", root)
    assert wrong.returncode == 2
    assert "unknown key `cam` (did you mean 'cams'?)" in wrong.stderr


def _written(path: Path, content: Any) -> Path:
    path.write_text(yaml.safe_dump(content))
    return path
