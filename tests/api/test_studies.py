"""A notebook runs and compares what the command line does, to the same artefacts."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import in_process
from examples import run_examples

import wsss
from wsss.config import load_study
from wsss.errors import ConfigError, PreflightError
from wsss.pipeline.running import StudyLease
from wsss.store.storage import open_storage


def test_what_the_command_line_has_run_is_not_computed_again(
    copied_study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(copied_study)
    ran = wsss.run(copied_study / "tiny.yaml", storage=copied_study / "runs", local=True)
    assert "sweep cam" in capsys.readouterr().out
    assert (ran.study, ran.computed, ran.failed, ran.interrupted) == ("tiny", 0, (), False)
    assert ran.reused > 0 and ran.trials > 0
    assert list(ran.scores["arm"]) == ["floor", "probe", "baseline", "fmix"] or "fmix" in set(
        ran.scores["arm"]
    )
    row = ran.scores.set_index("arm").loc["fmix"]
    assert row["cam_low"] <= row["cam"] <= row["cam_high"] and row["tried"] == 2
    run_examples(wsss.run)
    run_examples(wsss.compare)
    again = in_process("run", "tiny.yaml", "--local", "--storage", "runs", cwd=copied_study)
    assert "Nothing was computed" in again.stdout


@pytest.mark.long
def test_changes_and_another_name_are_those_of_the_command_line(
    tiny_study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"sweeps.cam.*.classifier.epochs": 1, "sweeps.cam.fmix.samples": 1, "allow": ["unequal_tuning"]}
    ran = wsss.run(
        tiny_study,
        changes=changes,
        storage=tmp_path / "runs",
        name="short",
        smoke=True,
        local=True,
        quiet=True,
    )
    assert capsys.readouterr().out == ""
    assert ran.study == "short-smoke" and not ran.failed
    stored = (tmp_path / "runs/studies/short-smoke/study.yaml").read_text()
    assert "epochs: 1" in stored
    assert {"baseline", "fmix"} <= set(wsss.compare(storage=tmp_path / "runs")["arm"])


def test_mistakes_are_errors_with_the_nearest_name(tiny_study: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="epochs"):
        wsss.run(
            tiny_study, changes={"sweeps.cam.*.classifier.epoch": 1}, storage=tmp_path / "runs", local=True
        )
    with pytest.raises(ConfigError, match="no study is named"):
        wsss.compare("nothing", storage=tmp_path)


def test_a_study_that_somebody_runs_is_left_alone(tiny_study: Path, tmp_path: Path) -> None:
    study = load_study(tiny_study, storage=str(tmp_path / "runs"))
    with StudyLease(study, open_storage(study.storage), lambda text: None) as lease:
        assert lease.acquire() is None
        with pytest.raises(PreflightError, match="tiny: is run by"):
            wsss.run(tiny_study, storage=tmp_path / "runs", local=True)
