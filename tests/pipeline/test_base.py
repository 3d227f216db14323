"""A study based on another starts at its kept trials and makes nothing of theirs again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import toy_studies
import yaml
from command_line import in_process

from wsss.config import Study, load_study_text
from wsss.errors import ConfigError
from wsss.store.ledger import Ledger


@pytest.fixture(scope="module")
def storage(copied_study: Path) -> Path:
    """A storage with the finished study `tiny`."""
    return copied_study / "runs"


def refine(storage: Path, base: dict[str, Any], **changes: Any) -> Path:
    tiny = yaml.safe_load((storage / "studies" / "tiny" / "study.yaml").read_text())
    stages = [{"pseudo_masks": {"background_exponent": "$exponent", "crf": {"iterations": 1}}}]
    sweep = {"name": "more", "search": {"exponent": {"choice": [2, 8]}}, "stages": stages, "searcher": "grid"}
    study = {"name": "refine", "base": base, "data": tiny["data"], "sweeps": [sweep], **changes}
    path = storage / "refine.yaml"
    path.write_text(yaml.safe_dump(study))
    return path


def test_only_what_is_new_is_made(storage: Path) -> None:
    path = refine(storage, {"study": "tiny", "sweep": "cam"})
    plan = in_process("plan", path, "--storage", storage)
    assert re.search(r"baseline +classifier +2 +0 +1", plan.stdout), plan.stdout
    done = in_process("run", path, "--local", "--storage", storage)
    assert done.returncode == 0, done.stderr
    trials = Ledger(storage / "studies" / "refine").trials().values()
    base = {
        t.id: t for t in Ledger(storage / "studies" / "tiny").trials().values() if t.sweep == "cam" and t.kept
    }
    assert {t.arm for t in trials} == {"baseline", "fmix"}
    assert len(trials) == 2 * len(base) == 4
    for trial in trials:
        upstream = base[trial.upstream]
        assert {label: trial.keys[label] for label in upstream.keys} == upstream.keys
        assert trial.params.keys() == upstream.params.keys() | {"exponent"}
    assert "Computed 8 artefacts" in done.stdout, "masks and their scores"
    again = in_process("run", path, "--local", "--storage", storage)
    assert "Nothing was computed" in again.stdout
    assert "refine" in in_process("compare", "refine", "--storage", storage, "--format", "json").stdout


def test_arms_can_be_chosen(storage: Path) -> None:
    path = refine(storage, {"study": "tiny", "sweep": "cam", "arms": ["fmix"]})
    plan = in_process("plan", path, "--storage", storage)
    assert "fmix" in plan.stdout and "baseline" not in plan.stdout


@pytest.mark.parametrize(("base", "changes", "message"), [
    ({"study": "tiy"}, {}, "no study is named 'tiy' (did you mean 'tiny'?)"),
    ({"study": "tiny", "sweep": "cma"}, {}, "base.sweep: tiny has no sweep 'cma' (did you mean 'cam'?)"),
    ({"study": "tiny", "arms": ["fmx"]}, {}, "base.arms: tiny kept no arm 'fmx' (did you mean 'fmix'?)"),
    ({"study": "tiny", "arm": "fmix"}, {}, "unknown key `arm` (did you mean 'arms'?)"),
    ({"study": "tiny"}, {"data": {"dataset": "sample", "sample": {"train": 20, "val": 4, "size": 64},
                                  "holdout": 0.3, "select": {"split": "train", "half": "a"},
                                  "report": {"split": "train", "half": "b"}}},
     "was made of other images, classes or parameters, or by another version (`data` must be that of tiny"),
])  # fmt: skip
def test_what_does_not_fit_is_said(
    storage: Path, base: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    done = in_process("plan", refine(storage, base, **changes), "--storage", storage)
    assert done.returncode == 2
    assert message in done.stderr.replace("\n", " ")


def test_names_that_meet_after_arms_which_the_storage_alone_knows_are_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file names no arm of the base: two trials of it would be `a-b-c-000-000-000`."""
    data = toy_studies.install(monkeypatch)
    arm = "{stages: [{classifier: {backbone: mobilenet_v2, weights: none, epochs: 1}}, cams]}"
    old = toy_studies.study(tmp_path, f"name: cam, arms: {{b-c-000: {arm}, c: {arm}}}", name="old")
    toy_studies.run(old, data)

    def then(*sweeps: str) -> Study:
        lines = "".join(f"  - {{name: {name}, stages: [pseudo_masks]}}\n" for name in sweeps)
        head = f"name: new\nbase: {{study: old}}\ndata: {old.to_raw()['data']}\nallow: [unequal_tuning]\n"
        return load_study_text(f"{head}sweeps:\n{lines}", source="new", base=tmp_path, storage=str(tmp_path))

    with pytest.raises(ConfigError) as caught:
        toy_studies.run(then("a", "a-b"), data)
    (problem,) = caught.value.problems
    assert problem.where == "sweeps.a-b"
    assert "of arm `b-c-000` in sweep `a` would have the same names" in problem.message
    assert not toy_studies.records(then("a", "a-b"))
    for _ in range(2):  # with other names it runs, and is no other study
        toy_studies.run(then("a", "d"), data)
    assert [record.status for record in toy_studies.records(then("a", "d")).values()] == ["done"] * 4
