"""The comparison against hand-made counts, from records and scores as the product writes them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from made_up import FAIR, FAIR_MIOU, GOOD, POOR, POOR_MIOU, Storage

from wsss.cli.comparison.compare import View, show
from wsss.errors import ConfigError
from wsss.report.compare import compare
from wsss.report.comparison import Protocol


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path)


def test_a_row_holds_the_numbers_of_its_scores(storage: Storage) -> None:
    storage.trial("baseline", storage.scores([FAIR, FAIR]), method="cam")
    found = compare(storage.root, ["made"])
    (row,) = found.rows
    cell = row.cells["cams"]
    assert (found.baseline, found.steps) == ("baseline", ("cams",))
    assert found.protocols == {"cams": Protocol("cams", "report", 2, True, 0.25, True)}
    assert cell.miou == pytest.approx(FAIR_MIOU)
    assert (cell.low, cell.high) == (pytest.approx(FAIR_MIOU), pytest.approx(FAIR_MIOU))
    assert (cell.threshold, cell.at_015, cell.at_020, cell.published) == (0.3, 0.11, 0.22, 0.77)
    assert (cell.select, cell.precision, cell.recall) == (0.4, 0.5, 1.0)
    assert cell.per_class == {"background": pytest.approx(80 / 90), "cat": pytest.approx(0.5)}
    assert cell.to_baseline is None


def test_the_interval_is_that_of_resampled_images(storage: Storage) -> None:
    """Two images: both good, both poor, or one of each, with chances ¼, ¼ and ½."""
    storage.trial("baseline", storage.scores([GOOD, POOR]))
    cell = compare(storage.root, ["made"]).rows[0].cells["cams"]
    assert cell.miou == pytest.approx((180 / 190 + 10 / 20) / 2)
    assert cell.low == pytest.approx(POOR_MIOU)
    assert cell.high == pytest.approx(1)


def test_differences_are_paired(storage: Storage) -> None:
    """The same images are hard for both, so the difference is sure though neither score is."""
    storage.twice("baseline", [POOR] * 5 + [FAIR] * 5)
    storage.twice("fmix", [POOR] * 5 + [GOOD] * 5)
    base, fmix = compare(storage.root, ["made"]).rows
    a, b = base.cells["cams"], fmix.cells["cams"]
    assert b.low < a.high, "the intervals of the two scores overlap"
    assert b.to_baseline.mean == pytest.approx(b.miou - a.miou)
    assert b.to_baseline.low is not None
    assert b.to_baseline.low > 0
    assert b.to_baseline.significant
    assert a.to_baseline is None


def test_no_difference_is_not_significant(storage: Storage) -> None:
    storage.trial("baseline", storage.scores([POOR, FAIR, GOOD]))
    storage.trial("same", storage.scores([POOR, FAIR, GOOD]))
    cell = compare(storage.root, ["made"]).rows[1].cells["cams"]
    assert (cell.to_baseline.mean, cell.to_baseline.low, cell.to_baseline.high) == (0, 0, 0)
    assert not cell.to_baseline.significant


def test_a_difference_of_one_seed_is_shown_without_a_star_and_the_table_says_why(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    """The interval is over images and knows nothing of how much another training would differ."""
    storage.trial("baseline", storage.scores([POOR] * 10))
    storage.trial("fmix", storage.scores([GOOD] * 10))
    found = compare(storage.root, ["made"])
    difference = found.rows[1].cells["cams"].to_baseline
    assert difference.low > 0.5
    assert (difference.seeds, difference.significant, difference.p_adjusted) == (1, False, 1.0)
    show(found, "markdown")
    text = capsys.readouterr().out
    assert "| +55.0 |" in text
    assert "with one seed the interval is over images alone" in text


def test_one_seed_against_two_is_no_star_either_and_does_not_count_in_the_correction(
    storage: Storage,
) -> None:
    storage.twice("baseline", [POOR] * 10)
    storage.twice("fmix", [POOR] * 5 + [FAIR] * 5)
    storage.trial("once", storage.scores([GOOD] * 10), seed=1)
    _, fmix, once = (row.cells["cams"].to_baseline for row in compare(storage.root, ["made"]).rows)
    assert not once.significant
    assert fmix.p_adjusted == fmix.p, "it is the only one that is tested"


def test_seeds_that_no_two_rows_share_are_no_star(storage: Storage) -> None:
    storage.twice("baseline", [POOR] * 10)
    for seed in (3, 4):
        key = storage.scores([GOOD] * 10)
        storage.trial("fmix", key, id=f"cam-fmix-000-s{seed}", configuration="cam-fmix-000", seed=seed)
    difference = compare(storage.root, ["made"]).rows[1].cells["cams"].to_baseline
    assert (difference.seeds, difference.significant) == (0, False)


def test_seeds_of_a_configuration_are_one_row_with_their_mean(storage: Storage) -> None:
    for seed, counts in ((1, GOOD), (2, POOR), (3, FAIR)):
        key = storage.scores([counts, counts])
        storage.trial(
            "baseline", key, id=f"cam-baseline-000-s{seed}", configuration="cam-baseline-000", seed=seed
        )
    (row,) = compare(storage.root, ["made"]).rows
    assert row.seeds == (1, 2, 3)
    assert row.cells["cams"].miou == pytest.approx((1 + POOR_MIOU + FAIR_MIOU) / 3)


def test_the_kept_trial_of_an_arm_is_shown_even_if_another_reports_better(storage: Storage) -> None:
    storage.trial("fmix", storage.scores([FAIR]), id="cam-fmix-000", kept=True)
    storage.trial("fmix", storage.scores([GOOD]), id="cam-fmix-001", kept=False)
    (row,) = compare(storage.root, ["made"]).rows
    assert row.configuration == "cam-fmix-000"


def test_an_arm_without_a_result_is_shown_with_its_status(storage: Storage) -> None:
    storage.trial("baseline", storage.scores([FAIR]))
    storage.trial("fmix", None, status="failed", kept=False)
    storage.trial("mixup", None, status="started", kept=False)
    found = compare(storage.root, ["made"])
    assert [(row.arm, row.status, dict(row.cells)) for row in found.rows[1:]] == [
        ("fmix", "failed", {}),
        ("mixup", "started", {}),
    ]


def test_studies_stand_side_by_side_when_their_images_are_the_same(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    storage.trial("baseline", storage.scores([FAIR, POOR]), study="one")
    storage.trial("fmix", storage.scores([GOOD, POOR]), study="two")
    found = compare(storage.root, ["one", "two"])
    assert found.protocols["cams"].comparable
    assert found.rows[1].cells["cams"].to_baseline.mean is not None
    show(found, "markdown")
    text = capsys.readouterr().out
    assert "| one: baseline |" in text
    assert "| two: fmix |" in text
    assert "NOT all scored on the same images" not in text


def test_scores_of_other_images_are_not_subtracted_and_the_table_says_so(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    storage.trial("baseline", storage.scores([FAIR, POOR]), study="one")
    storage.trial("fmix", storage.scores([GOOD, POOR], ids=["other-1", "other-2"]), study="two")
    found = compare(storage.root, ["one", "two"])
    assert not found.protocols["cams"].comparable
    assert found.rows[1].cells["cams"].to_baseline is None
    show(found, "table")
    assert "NOT all scored on the same images" in capsys.readouterr().out


def test_every_format_shows_the_same_numbers(storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    storage.trial("baseline", storage.scores([FAIR, FAIR]), params={"alpha": 0.123456})
    found = compare(storage.root, ["made"])
    show(found, "csv")
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [line["arm"] for line in lines] == ["floor", "baseline"]
    assert json.loads(lines[1]["params"]) == {"alpha": 0.123456}
    assert float(lines[1]["cam"]) == pytest.approx(FAIR_MIOU, abs=1e-6)
    assert lines[0]["cam"] == "0.25"
    show(found, "json")
    printed = json.loads(capsys.readouterr().out)
    assert printed["rows"][0]["cells"]["cams"]["miou"] == pytest.approx(FAIR_MIOU)
    assert printed["table"][1]["cam"] == pytest.approx(FAIR_MIOU) and list(printed["table"][1]) == list(
        lines[1]
    )
    for format_ in ("table", "markdown", "latex", "html"):
        show(found, format_)
        assert f"{100 * FAIR_MIOU:.1f}" in capsys.readouterr().out
    show(found, "table", View.classes)
    assert "50.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "baseline", "message"),
    [
        (["mode"], None, "no study is named 'mode' (did you mean 'made'?)"),
        (["made"], "basline", "no arm is named 'basline' (did you mean 'baseline'?)"),
    ],
)
def test_unknown_names_get_the_nearest(
    storage: Storage, names: list[str], baseline: str | None, message: str
) -> None:
    storage.trial("baseline", storage.scores([FAIR]))
    with pytest.raises(ConfigError) as caught:
        compare(storage.root, names, baseline)
    assert message in str(caught.value)


def test_unequal_tuning_stands_in_the_table_and_so_does_the_reason(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    storage.trial("baseline", storage.scores([FAIR]))
    for number in range(3):
        storage.trial("fmix", storage.scores([GOOD]), id=f"cam-fmix-00{number}", kept=number == 0)
    path = storage.root / "studies" / "made" / "study.yaml"
    path.write_text(path.read_text() + "allow: [{unequal_tuning: the baseline has nothing to search}]\n")
    found = compare(storage.root, ["made"])
    assert [row.tried.configurations for row in found.rows] == [1, 3]
    for format_ in ("table", "markdown"):
        show(found, format_)
        text = " ".join(capsys.readouterr().out.split())
        assert "NOT tuned equally" in text
        assert "made has UNEQUAL tuning: the baseline has nothing to search." in text
    show(found, "csv")
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [line["tried"] for line in lines] == ["", "1", "3"]
    show(found, "json")
    printed = json.loads(capsys.readouterr().out)
    assert printed["rows"][1]["tried"]["configurations"] == 3
    assert printed["unfair"] == {"made": {"unequal_tuning": "the baseline has nothing to search"}}
