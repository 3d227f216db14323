"""Every study that is shipped runs from its first stage to its table, made small by `--smoke`."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from command_line import in_process
from made_once import made_once
from mlflow.tracking import MlflowClient
from PIL import Image

from wsss.config import load_study
from wsss.config.checks.size import configurations
from wsss.config.stage import made_kind, scored_as
from wsss.config.study import Study
from wsss.data.readers.voc import VOC_CLASSES, VocDataset
from wsss.data.sample.data_set import SAMPLE_CLASSES, write_sample
from wsss.masks.images import write_mask
from wsss.report.compare import compare

ROOT = Path(__file__).parents[1]
STUDIES = sorted((ROOT / "tune_configs").glob("*.yaml"))
STANDS_FOR = dict(zip(SAMPLE_CLASSES, ("cat", "cow", "dog", "horse", "sheep"), strict=True))


def draw_voc(folder: Path) -> None:
    root = folder / "VOC2012"
    write_sample(root, train=40, val=20, size=64)
    (root / "classes.txt").unlink()
    lists = root / "ImageSets" / "Segmentation"
    (lists / "train_aug.txt").write_text((lists / "train.txt").read_text())
    ids = np.arange(256, dtype=np.uint8)
    for number, name in enumerate(SAMPLE_CLASSES, start=1):
        ids[number] = 1 + VOC_CLASSES.index(STANDS_FOR[name])
    for path in (root / "SegmentationClass").glob("*.png"):
        with Image.open(path) as drawn:
            mask = Image.fromarray(ids[np.asarray(drawn)])
            mask.putpalette(drawn.getpalette() or [])
        mask.save(path)
    for path in (root / "Annotations").glob("*.xml"):
        text = path.read_text()
        for drawn_name, voc_name in STANDS_FOR.items():
            text = text.replace(f"<name>{drawn_name}</name>", f"<name>{voc_name}</name>")
        path.write_text(text)


@pytest.fixture(scope="session")
def drawn_voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A devkit folder in which drawn animals carry the names and mask ids of VOC's."""
    return made_once(tmp_path_factory, "drawn-voc", draw_voc) / "VOC2012"


def draw_pets(folder: Path) -> None:
    sample, root = folder / "sample", folder / "pets"
    write_sample(sample, train=60, val=4, size=64)
    dataset = VocDataset(sample, SAMPLE_CLASSES[:2])
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    ids = [id for id in dataset.split("train") if dataset.labels([id]).sum() == 1]
    for id in ids:
        dataset.image(id).save(root / f"images/{id}.jpg")
        write_mask(root / f"masks/{id}.png", dataset.mask(id))
    rows = [f"{id}.jpg,{('cat', 'dog')[int(dataset.labels([id])[0, 1])]}" for id in ids]
    (root / "labels.csv").write_text("\n".join(["image,label", *rows]))
    (root / "classes.txt").write_text("cat\ndog\n")
    (root / "trainval.txt").write_text("\n".join(f"{id}.jpg" for id in ids))


@pytest.fixture(scope="session")
def drawn_pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `data fetch pets` makes, with two drawn animals as cats and dogs."""
    return made_once(tmp_path_factory, "drawn-pets", draw_pets) / "pets"


def arms(study: Study) -> set[str]:
    own = [arm.name for sweep in study.sweeps[:1] for arm in sweep.arms]
    if study.base is None:
        return set(own)
    return {f"{first}+{arm}" for first in study.base.arms or () for arm in own}


def scored_before(study: Study) -> set[str]:
    """Return the steps that the base's arms were scored at."""
    if study.base is None:
        return set()
    base = load_study(ROOT / "tune_configs" / f"{study.base.study}.yaml")
    last = [sweep.name for sweep in base.sweeps].index(study.base.sweep)
    uses = [use for sweep in base.sweeps[: last + 1] for arm in sweep.arms for use in arm.stages]
    return {use.name for use in uses if scored_as(made_kind(use.stage, use.params))}


def smoke(file: Path, roots: Mapping[str, Path], storage: Path) -> None:
    study = load_study(file)
    words = ["run", str(file), "--smoke", "--local", "--storage", str(storage)]
    for sweep in study.sweeps:
        words += ["-s", f"sweeps.{sweep.name}.resources={{cpu: 1}}"]
    if root := roots.get(study.data.dataset):
        words += ["-s", f"data.root={root}"]
    if study.data.dataset == "folder":
        words += ["-s", f"data.masks={root}/masks"]
    with (storage / f"{study.name}.lock").open("w") as lock:  # a base is run by those who build on it, too
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = in_process(*words)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
        client = MlflowClient(f"sqlite:///{storage}/mlflow.db")
        experiment = client.get_experiment_by_name(f"{study.name}-smoke")
        assert experiment is not None
        # Copies of networks: two gigabytes, of all studies together.
        shutil.rmtree(str(experiment.artifact_location).removeprefix("file://"))


@pytest.fixture(scope="session")
def storage(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all studies: what several of them have in common is made once."""
    return made_once(
        tmp_path_factory, "smoke-runs", lambda folder: shutil.copy(empty_database, folder / "mlflow.db")
    )


@pytest.mark.long
@pytest.mark.timeout(900)  # it may wait for another worker, which runs its base
@pytest.mark.parametrize("file", STUDIES, ids=lambda path: path.name)
def test_a_shipped_study_runs_to_its_table(
    file: Path, drawn_voc: Path, drawn_pets: Path, storage: Path
) -> None:
    study, roots = load_study(file), {"voc": drawn_voc, "folder": drawn_pets}
    if study.base is not None:
        smoke(ROOT / "tune_configs" / f"{study.base.study}.yaml", roots, storage)
    smoke(file, roots, storage)
    rows = [row for row in compare(storage, [f"{study.name}-smoke"]).rows if row.arm in arms(study)]
    scored = {row.arm: scored_before(study) for row in rows}
    for sweep in study.sweeps:
        for arm in sweep.arms:
            names = {use.name for use in arm.stages if scored_as(made_kind(use.stage, use.params))}
            for mine in (scored[name] for name in scored if arm.name in (name, sweep.name) or study.base):
                mine |= names
    assert {row.arm for row in rows} == arms(study)
    assert {row.arm: set(row.cells) for row in rows} == scored
    assert all(row.status == "done" for row in rows)


@pytest.mark.parametrize("file", STUDIES, ids=lambda path: path.name)
def test_a_shipped_study_says_what_it_asks_and_how_it_is_run(file: Path) -> None:
    first, *rest = [line for line in file.read_text().splitlines() if line.startswith("#")]
    assert first.endswith("?")
    assert any(f"launch.py run tune_configs/{file.name}" in line for line in rest)


@pytest.mark.parametrize("file", STUDIES, ids=lambda path: path.name)
def test_a_shipped_study_compares_equals_or_says_why(file: Path) -> None:
    """Loading it refuses unequal arms that `allow` doesn't name; here, each of these has a reason."""
    study = load_study(file)
    assert all(study.allow.values()), "what is unequal has a reason"
    for sweep in study.sweeps:
        tried = {
            configurations(arm.search, arm.samples, sweep.searcher.kind)
            for arm in sweep.arms
            if "unequal_tuning" not in study.allow
        }
        assert len(tried) <= 1


def test_only_controls_are_tuned_less_in_what_is_shipped() -> None:
    unequal = [file.stem for file in STUDIES if "unequal_tuning" in load_study(file).allow]
    assert unequal == ["ablation", "equal_animals"]


@pytest.mark.parametrize("file", STUDIES, ids=lambda path: path.name)
def test_a_shipped_study_never_reports_on_what_it_selects_with(file: Path) -> None:
    study = load_study(file)
    assert not study.data.select.overlaps(study.data.report)
    assert all("/select/" in sweep.metric for sweep in study.sweeps if sweep.metric)
