"""A study based on another starts at its kept trials and makes nothing of theirs again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import in_process

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
