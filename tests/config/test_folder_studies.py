"""Studies of a folder of photos: what they may leave out, and what can't be asked without masks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from wsss.config import DataSpec, Study, dump_study, load_study_text, smoke
from wsss.errors import ConfigError

TEXT = """\
name: own
data: {dataset: folder, root: photos}
sweeps:
  - name: cam
    arms:
      baseline: {stages: [classifier, cams]}
      fmix:
        search: {alpha: {choice: [0.5, 1]}}
        stages: [classifier: {method: fmix, mixing: {alpha: $alpha}}, cams]
  - name: masks
    stages: [pseudo_masks]
allow: [unequal_tuning]
"""


def load(folder: Path, old: str = "", new: str = "") -> Study:
    assert old in TEXT
    return load_study_text(TEXT.replace(old, new) if old else TEXT, source="own.yaml", base=folder)


def refused(folder: Path, old: str, new: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, old, new)
    return [str(problem) for problem in caught.value.problems]


def test_without_masks_the_holdout_judges(tmp_path: Path) -> None:
    study = load(tmp_path)
    assert (study.data.train, study.data.holdout, study.data.masks) == ("all", 0.2, "none")
    assert study.data.root == tmp_path / "photos"
    assert not study.data.scored
    assert [sweep.metric for sweep in study.sweeps] == ["classifier/holdout/mAP", None]


def test_with_masks_they_judge(tmp_path: Path) -> None:
    (tmp_path / "photos/masks").mkdir(parents=True)
    study = load(tmp_path)
    assert study.data.masks == tmp_path / "photos/masks"
    assert (str(study.data.select), str(study.data.report)) == ("half a of masked", "half b of masked")
    assert [sweep.metric for sweep in study.sweeps] == ["cams/select/miou", "pseudo_masks/select/miou"]
    unscored = load(tmp_path, "root: photos", "root: photos, masks: none")
    assert not unscored.data.scored


@pytest.mark.parametrize("masks", [True, False])
def test_it_is_stored_as_it_was_understood(masks: bool, tmp_path: Path) -> None:
    if masks:
        (tmp_path / "photos/masks").mkdir(parents=True)
    study = load(tmp_path, "root: photos", "root: photos, labels: table.csv")
    assert study.data.labels == tmp_path / "table.csv"
    (tmp_path / "photos/masks").mkdir(parents=True, exist_ok=True)  # comes too late for this study
    text = dump_study(study)
    assert load_study_text(text, source="stored.yaml", base=Path("/elsewhere")) == study
    assert smoke(study).data.dataset == "folder"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("    stages: [pseudo_masks]", "    stages: [pseudo_masks]\n    metric: pseudo_masks/select/miou", "without masks only hold-out mAP can be measured (leave it out: all trials are kept)"),
        ("    arms:", "    metric: cams/select/miou\n    arms:", "(choose from classifier/holdout/mAP)"),
        ("root: photos", "root: photos, report: {split: test}", "`report` (test) names images with masks, but there are none"),
        ("root: photos", "root: photos, test: {split: test}", "`test` (test) names images with masks"),
        ("root: photos", "root: photos, lables: x.csv", "did you mean 'labels'?"),
        ("dataset: folder", "dataset: folders", "did you mean 'folder'?"),
        ("dataset: folder, root: photos", "dataset: voc, root: photos, labels: x.csv", "`labels` belongs to `dataset: folder`, not to voc"),
        ("dataset: folder, root: photos", "dataset: sample, masks: none", "`masks` belongs to `dataset: folder`, not to sample"),
        ("{stages: [classifier, cams]}", "{stages: [classifier: {supervision: masks}, cams]}", "trains on pixel masks, but there are none"),
    ],
)  # fmt: skip
def test_what_is_wrong(old: str, new: str, message: str, tmp_path: Path) -> None:
    found = refused(tmp_path, old, new)
    assert sum(message in problem for problem in found) == 1, found


def test_without_masks_and_holdout_nothing_judges(tmp_path: Path) -> None:
    study = load(tmp_path, "root: photos", "root: photos, holdout: 0")
    assert [sweep.metric for sweep in study.sweeps] == [None, None]


def test_map_chooses_where_there_are_masks_only_when_it_is_asked_to(tmp_path: Path) -> None:
    (tmp_path / "photos/masks").mkdir(parents=True)
    assert load(tmp_path, "    arms:", "    arms:").sweeps[0].metric == "cams/select/miou"
    asked = load(tmp_path, "    arms:", "    metric: classifier/holdout/mAP\n    arms:")
    assert asked.sweeps[0].metric == "classifier/holdout/mAP"


def test_what_the_page_on_own_data_shows_is_accepted(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs/own-data.md").read_text()
    study, lists = re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    shown = load_study_text(study, source="photos.yaml", base=tmp_path)
    assert [sweep.metric for sweep in shown.sweeps] == ["classifier/holdout/mAP", None]
    spec = DataSpec.model_validate(yaml.safe_load(lists)["data"])
    assert (spec.train, str(spec.select), str(spec.report)) == ("training", "tuning", "final")
