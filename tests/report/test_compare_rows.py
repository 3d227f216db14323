"""Which trials a comparison shows, and against which it sets them: sweeps, seeds, arms, baselines."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from made_up import FAIR, FAIR_MIOU, GOOD, POOR, POOR_MIOU, Storage

from wsss.cli.comparison.compare import View, show
from wsss.cli.comparison.lines import score_groups, score_lines
from wsss.errors import ConfigError
from wsss.pipeline.running import Holder
from wsss.report.compare import compare
from wsss.report.comparison import Cell, Unfinished

NOTHING = [[0, 0], [0, 0]]


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path)


def cells(storage: Storage, baseline: str | None = None) -> dict[str, Cell]:
    """The CAM cells of study `made` by arm."""
    return {row.arm: row.cells["cams"] for row in compare(storage.root, ["made"], baseline).rows}


def test_the_extremes_of_a_paired_difference_by_hand(storage: Storage) -> None:
    """The image that differs is drawn twice, once or never, for both arms alike.

    Drawn for each arm apart, the difference would reach from FAIR − GOOD to GOOD − POOR.
    """
    storage.trial("baseline", storage.scores([POOR, GOOD]))
    storage.trial("fmix", storage.scores([FAIR, GOOD]))
    cell = cells(storage)["fmix"]
    assert cell.to_baseline.mean == pytest.approx((170 / 180 + 20 / 30) / 2 - (180 / 190 + 10 / 20) / 2)
    assert cell.to_baseline.low == 0
    assert cell.to_baseline.high == pytest.approx(FAIR_MIOU - POOR_MIOU)
    assert not cell.to_baseline.significant, "the interval touches zero"


def test_a_certain_loss_is_significant_too(storage: Storage) -> None:
    storage.twice("baseline", [GOOD] * 6)
    storage.twice("fmix", [POOR] * 6)
    cell = cells(storage)["fmix"]
    assert (cell.to_baseline.low, cell.to_baseline.high) == (
        pytest.approx(POOR_MIOU - 1),
        pytest.approx(POOR_MIOU - 1),
    )
    assert cell.to_baseline.significant


@pytest.mark.parametrize(
    ("methods", "baseline"),
    [
        ({"probe": "probe", "cam": "cam", "baseline": "fmix"}, "baseline"),
        ({"probe": "probe", "fmix": "fmix", "plain": "cam"}, "plain"),
        ({"probe": "probe", "fmix": "fmix"}, "probe"),
    ],
)
def test_the_baseline_is_the_arm_of_that_name_else_plain_cams_else_the_first(
    storage: Storage, methods: dict[str, str], baseline: str
) -> None:
    for arm, method in methods.items():
        storage.trial(arm, storage.scores([FAIR]), method=method)
    found = compare(storage.root, ["made"])
    assert found.baseline == baseline
    assert {row.arm for row in found.rows if row.cells["cams"].to_baseline is None} == {baseline}


def test_another_baseline_turns_the_differences_round(storage: Storage) -> None:
    storage.trial("baseline", storage.scores([FAIR]))
    storage.trial("fmix", storage.scores([GOOD]))
    assert cells(storage)["fmix"].to_baseline.mean == pytest.approx(1 - FAIR_MIOU)
    turned = cells(storage, "fmix")
    assert turned["baseline"].to_baseline.mean == pytest.approx(FAIR_MIOU - 1)
    assert turned["fmix"].to_baseline is None


def test_the_same_arm_of_two_studies_is_compared(storage: Storage) -> None:
    storage.trial("baseline", storage.scores([FAIR]), study="one")
    storage.trial("baseline", storage.scores([GOOD]), study="two")
    one, two = (row.cells["cams"] for row in compare(storage.root, ["one", "two"]).rows)
    assert one.to_baseline is None
    assert two.to_baseline.mean == pytest.approx(1 - FAIR_MIOU)


def test_each_kept_configuration_has_a_row(storage: Storage) -> None:
    for number, (counts, alpha) in enumerate(((GOOD, 0.5), (POOR, 1.0), (FAIR, 2.0))):
        id = f"cam-fmix-00{number}"
        storage.trial("fmix", storage.scores([counts]), id=id, params={"alpha": alpha}, kept=number != 1)
    rows = compare(storage.root, ["made"]).rows
    assert [(row.configuration, dict(row.params)) for row in rows] == [
        ("cam-fmix-000", {"alpha": 0.5}),
        ("cam-fmix-002", {"alpha": 2.0}),
    ]


def test_a_replicated_arm_shows_the_mean_over_its_new_seeds(storage: Storage) -> None:
    storage.trial("baseline", storage.scores([GOOD]))
    storage.trial("fmix", storage.scores([GOOD]))
    for arm, counts in (("baseline", (POOR, FAIR)), ("fmix", (FAIR, GOOD))):
        for seed, one in enumerate(counts, 1):
            storage.trial(
                arm, storage.scores([one]), sweep="replicate", seed=seed,
                id=f"replicate-{arm}-000-s{seed}", configuration=f"replicate-{arm}-000",
            )  # fmt: skip
    base, fmix = compare(storage.root, ["made"]).rows
    assert (base.seeds, fmix.seeds) == ((1, 2), (1, 2))
    assert base.cells["cams"].miou == pytest.approx((POOR_MIOU + FAIR_MIOU) / 2)
    assert fmix.cells["cams"].miou == pytest.approx((FAIR_MIOU + 1) / 2)
    assert fmix.cells["cams"].to_baseline.mean == pytest.approx((1 - POOR_MIOU) / 2)
    assert fmix.cells["cams"].per_class["cat"] == pytest.approx((10 / 20 + 1) / 2)


def test_a_seed_that_failed_does_not_count(storage: Storage) -> None:
    key = storage.scores([FAIR])
    storage.trial("fmix", key, id="cam-fmix-000-s1", configuration="cam-fmix-000", seed=1)
    storage.trial(
        "fmix", None, id="cam-fmix-000-s2", configuration="cam-fmix-000", seed=2, kept=False, status="failed"
    )
    (row,) = compare(storage.root, ["made"]).rows
    assert (row.seeds, row.status) == ((1,), "done")
    assert row.cells["cams"].miou == pytest.approx(FAIR_MIOU)


def test_what_is_kept_stays_in_view_while_the_next_sweep_runs(storage: Storage) -> None:
    key = storage.scores([FAIR])
    storage.trial("fmix", key)
    storage.trial(
        "fmix", None, id="masks-fmix-000-000", sweep="masks", kept=False, status="started",
        keys={"cams.scores": key, "pseudo_masks.scores": "ff" * 32},
    )  # fmt: skip
    (row,) = compare(storage.root, ["made"]).rows
    assert (row.configuration, row.status, list(row.cells)) == ("cam-fmix-000", "done", ["cams"])


def test_an_arm_that_a_later_sweep_split_gives_way_to_its_parts(storage: Storage) -> None:
    cams = storage.scores([FAIR])
    storage.trial("fmix", cams)
    for part, counts in (("crf", GOOD), ("plain", POOR)):
        keys = {"cams.scores": cams, "pseudo_masks.scores": storage.scores([counts], kind="pseudo_masks")}
        storage.trial(f"fmix+{part}", None, id=f"masks-fmix+{part}-000-000", sweep="masks", keys=keys)
    found = compare(storage.root, ["made"])
    assert found.steps == ("cams", "pseudo_masks")
    assert {row.arm: row.cells["pseudo_masks"].miou for row in found.rows} == {
        "fmix+crf": pytest.approx(1),
        "fmix+plain": pytest.approx(POOR_MIOU),
    }
    assert [row.cells["cams"].miou for row in found.rows] == [pytest.approx(FAIR_MIOU)] * 2


def test_a_step_that_only_one_arm_took_is_blank_for_the_other(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    storage.trial("baseline", storage.scores([POOR, POOR]), method="probe")
    keys = {
        "cams.scores": storage.scores([FAIR, FAIR]),
        "pseudo_masks.scores": storage.scores([GOOD, GOOD], kind="pseudo_masks"),
    }
    storage.trial("fmix", None, keys=keys)
    found = compare(storage.root, ["made"])
    assert found.rows[1].cells["pseudo_masks"].to_baseline is None, "there is nothing to set it against"
    show(found, "csv")
    header, floor, base, fmix = csv.reader(io.StringIO(capsys.readouterr().out))
    step = [
        "{0}",
        "{0}_low",
        "{0}_high",
        *(f"{{0}}_delta{end}" for end in ("", "_low", "_high", "_stands", "_across")),
    ]
    cam, mask = ([name.format(title) for name in step] for title in ("cam", "mask"))
    cuts = [f"cam_{name}" for name in ("threshold", "at_015", "at_020", "area", "pxap", "published")]
    assert {*cam, *cuts, *mask} <= set(header) and len(header) == len(set(header))
    assert all(re.fullmatch("[a-z0-9_]+", name) for name in header)
    floor, base, fmix = (dict(zip(header, line, strict=True)) for line in (floor, base, fmix))
    assert {name: text for name, text in floor.items() if text} == {
        "arm": "floor",
        "cam": "0.25",
        "mask": "0.25",
    }
    assert [base[name] for name in ("study", "arm", "seeds", "tried", "epochs")] == [
        "made",
        "baseline",
        "1",
        "1",
        "0",
    ]
    assert [base[name] for name in cam] == ["0.45", "0.45", "0.45", *[""] * 5]
    assert [base[name] for name in cuts] == ["0.3", "0.11", "0.22", "0.33", "0.44", "0.77"]
    assert [base[name] for name in mask] == [""] * 8
    more = f"{FAIR_MIOU - POOR_MIOU:.6g}"
    assert [fmix[name] for name in cam] == [*[f"{FAIR_MIOU:.6g}"] * 3, *[more] * 3, "false", "false"]
    assert [fmix[name] for name in mask] == ["1", "1", "1", *[""] * 5]


def test_a_class_that_nowhere_occurs_is_left_out_of_the_mean_and_blank(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    storage.trial("baseline", storage.scores([np.pad(FAIR, (0, 1)).tolist()]))  # no dogs, none predicted
    found = compare(storage.root, ["made"])
    assert found.rows[0].cells["cams"].miou == pytest.approx(FAIR_MIOU)
    show(found, "csv", View.classes)
    assert capsys.readouterr().out.splitlines() == [
        "study,arm,configuration,pixel_labels,unequal,step,background,cat,dog",
        "made,baseline,cam-baseline-000,false,,cam,0.888889,0.5,",
    ]


def test_resamples_of_nothing_but_ignored_pixels_leave_the_interval_defined(storage: Storage) -> None:
    storage.trial("baseline", storage.scores([FAIR, NOTHING]))
    storage.trial("fmix", storage.scores([GOOD, NOTHING]))
    found = cells(storage)
    assert (found["baseline"].low, found["baseline"].high) == (pytest.approx(FAIR_MIOU),) * 2
    assert found["fmix"].to_baseline.low == pytest.approx(1 - FAIR_MIOU)


@pytest.mark.parametrize("other", ["masks", "classes", "order"])
def test_other_masks_classes_or_images_are_not_set_against_each_other(storage: Storage, other: str) -> None:
    counts, ids = [FAIR, FAIR], ["a", "b"]
    storage.trial("baseline", storage.scores(counts, ids=ids), study="one")
    if other == "masks":
        counts = [FAIR, [[80, 9], [0, 11]]]  # one pixel was drawn anew: cat, not background
    elif other == "classes":
        counts = [np.pad(FAIR, (0, 1)).tolist()] * 2
    else:
        ids = ["b", "a"]
    storage.trial("fmix", storage.scores(counts, ids=ids), study="two")
    found = compare(storage.root, ["one", "two"])
    assert not found.protocols["cams"].comparable
    assert found.rows[1].cells["cams"].to_baseline is None


def test_a_study_of_which_nothing_is_finished_is_shown_as_that(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    storage.trial("baseline", None, status="started", kept=False, keys={"cams.scores": "ab" * 32})
    found = compare(storage.root, ["made"])
    assert (found.protocols, found.steps, found.per_class) == ({}, (), ())
    for format_ in ("table", "markdown", "latex", "html"):
        show(found, format_)
        text = capsys.readouterr().out
        assert "baseline (started)" in text and "made is not at its end: 0 of 1 trials done." in text
        assert "Nothing was scored" not in text
    show(found, "csv")
    (line,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (line["arm"], line["status"]) == ("baseline", "started")
    show(found, "json")
    printed = json.loads(capsys.readouterr().out)
    assert printed["rows"][0]["status"] == "started"
    assert printed["unfinished"] == {"made": {"done": 0, "total": 1, "failed": 0, "running": False}}


def test_a_storage_without_studies_says_so(storage: Storage) -> None:
    with pytest.raises(ConfigError, match=r"no study is named 'made' \(the storage has no studies yet\)"):
        compare(storage.root, ["made"])


def test_an_unknown_arm_unlike_any_other_gets_them_all(storage: Storage) -> None:
    storage.trial("baseline", storage.scores([FAIR]))
    storage.trial("fmix", storage.scores([FAIR]))
    with pytest.raises(ConfigError, match=r"no arm is named 'zzz' \(choose from baseline, fmix\)"):
        compare(storage.root, ["made"], "zzz")


def test_a_method_stands_beside_its_own_control(storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    for arm, report in (("plain", [POOR] * 6), ("clusters", [GOOD] * 6), ("dealt", [FAIR] * 6)):
        storage.twice(arm, report, method="cam" if arm == "plain" else arm)
    storage.study("made", ["plain", "clusters", "dealt"], clusters="dealt")
    found = cells(storage)
    assert found["clusters"].to_control is not None
    assert found["clusters"].to_control.mean == pytest.approx(1 - FAIR_MIOU)
    assert found["clusters"].to_control.significant
    assert found["clusters"].to_baseline is not None
    assert found["clusters"].to_baseline.mean == pytest.approx(1 - POOR_MIOU)
    assert found["plain"].to_control is None
    assert found["dealt"].to_control is None
    show(compare(storage.root, ["made"]), "csv")
    printed = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [line["cam_control_delta"] for line in printed] == ["", "", f"{1 - FAIR_MIOU:.6g}", ""]
    assert [line["cam_control_delta_stands"] for line in printed] == ["", "", "true", ""]
    show(compare(storage.root, ["made"]), "markdown")
    assert f"{100 * (1 - FAIR_MIOU):+.1f}* |" in capsys.readouterr().out


def test_what_a_study_was_allowed_is_said_below_its_numbers(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    storage.trial("plain", storage.scores([GOOD] * 2))
    storage.allow = ("train_on_masks", "select_on_report")
    storage.study("made", ["plain"])
    show(compare(storage.root, ["made"]), "table")
    text = capsys.readouterr().out
    assert "train on masks" not in text, "no row was"
    assert "made was allowed to select on report: its numbers are optimistic" in text


def test_what_was_made_smaller_for_want_of_memory_is_said_below(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    short = {"smaller": {"a": [80, 60], "b": [80, 60]}, "free_memory_allowed_gib": 1.25}
    walk = storage.network("pseudo_masks", {**short, "crf": {"smaller": {"a": [40, 30]}}})
    plain = storage.network("pseudo_masks", {"smaller": {}})
    storage.trial("small", score := storage.scores([GOOD] * 2), keys={"cams.scores": score, "walk": walk})
    storage.trial("plain", score := storage.scores([GOOD] * 2), keys={"cams.scores": score, "walk": plain})
    found = compare(storage.root, ["made"])
    rows = {row.arm: row.smaller for row in found.rows}
    assert rows["plain"] == ()
    assert rows["small"] == (
        "walk saw 2 photos as smaller copies, as only 1.25 GiB were free for it",
        "walk's CRF saw 1 photos as smaller copies",
    )
    show(found, "table")
    assert "small was made smaller: walk saw 2 photos" in " ".join(capsys.readouterr().out.split())


def test_what_a_step_adds_is_paired_with_the_step_before(storage: Storage) -> None:
    """By image and by seed; the same as the difference of two arms with these scores."""
    before, after = [[POOR, FAIR, GOOD], [FAIR, FAIR, POOR]], [[FAIR, GOOD, GOOD], [GOOD, FAIR, POOR]]
    for seed in (0, 1):
        cam, crf = storage.scores(before[seed]), storage.scores(after[seed], kind="pseudo_masks")
        far = storage.scores([GOOD] * 3, kind="segmentations")
        keys = {"cams.scores": cam, "crf.scores": crf, "net.scores": far}
        storage.trial("chain", None, id=f"cam-chain-000-s{seed}", configuration="c", seed=seed, keys=keys)
        storage.trial("baseline", cam, id=f"cam-baseline-000-s{seed}", configuration="b", seed=seed)
        again = storage.scores(after[seed])
        storage.trial("after", again, id=f"cam-after-000-s{seed}", configuration="a", seed=seed)
    rows = {row.arm: row.cells for row in compare(storage.root, ["made"]).rows}
    added, paired = rows["chain"]["crf"].to_before, rows["after"]["cams"].to_baseline
    assert added is not None and paired is not None
    assert (added.mean, added.low, added.high) == (paired.mean, paired.low, paired.high)
    assert added.low < added.mean < added.high
    assert rows["chain"]["cams"].to_before is None, "nothing comes before"
    assert rows["chain"]["net"].to_before is None, "it is scored on other images"


def test_the_table_of_errors_says_in_which_way_masks_are_wrong(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    storage.trial("plain", storage.scores([FAIR] * 2))
    show(compare(storage.root, ["made"]), "csv", View.errors)
    header, line = csv.reader(io.StringIO(capsys.readouterr().out))
    found = dict(zip(header, line, strict=True))
    assert found["arm"] == "plain" and found["step"] == "cam"
    # FAIR: of 100 pixels, 80 background and 10 of the class are right, 10 background are claimed.
    assert (found["miou"], found["precision"], found["recall"]) == (f"{FAIR_MIOU:.6g}", "0.5", "1")
    assert (found["false_positive"], found["false_negative"], found["confused"]) == ("0.1", "0", "0")
    assert found["boundary_f"] == "0.25"
    assert found["before_delta"] == found["before_delta_low"] == ""


def test_the_step_before_is_that_of_the_chain_whatever_its_name(storage: Storage) -> None:
    stages = ["classifier", "cams", {"pseudo_masks": {"as": "rough"}}, {"pseudo_masks": {"as": "fine"}}]
    keys = {
        "cams.scores": storage.scores([POOR] * 2),
        "fine.scores": storage.scores([GOOD] * 2, kind="pseudo_masks"),
        "rough.scores": storage.scores([FAIR] * 2, kind="pseudo_masks"),
    }
    storage.trial("plain", None, keys=keys)
    path = storage.root / "studies" / "made" / "study.yaml"
    study = {"name": "made", "data": {"dataset": "sample"}, "sweeps": [{"name": "cam", "stages": stages}]}
    study |= {"seed": 0, "retain": "kept", "tracking": {"uri": None}}
    path.write_text(yaml.safe_dump(study))
    found = compare(storage.root, ["made"])
    assert found.steps == ("cams", "rough", "fine")
    cells = found.rows[0].cells
    added = [cells[step].to_before for step in found.steps[1:]]
    assert [one and one.mean for one in added] == pytest.approx([FAIR_MIOU - POOR_MIOU, 1 - FAIR_MIOU])


def test_the_table_of_errors_says_what_a_step_adds(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = {
        "cams.scores": storage.scores([FAIR] * 6),
        "crf.scores": storage.scores([GOOD] * 6, kind="pseudo_masks"),
    }
    for seed in (1, 2):
        id = "cam-plain-000"
        storage.trial("plain", None, keys=keys, id=f"{id}-s{seed}", configuration=id, seed=seed)
    show(compare(storage.root, ["made"]), "csv", View.errors)
    _, line = csv.DictReader(io.StringIO(capsys.readouterr().out))
    more = [line[f"before_delta{end}"] for end in ("", "_low", "_high", "_stands")]
    assert more == [*[f"{1 - FAIR_MIOU:.6g}"] * 3, "true"]
    show(compare(storage.root, ["made"]), "markdown", View.errors)
    text = f"{100 * (1 - FAIR_MIOU):+.1f}"
    assert f"| {text}* | [{text}, {text}] |" in capsys.readouterr().out


@pytest.mark.parametrize("running", [True, False])
def test_a_study_on_its_way_says_how_far_it_is(
    running: bool, storage: Storage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = [f"arm{number}" for number in range(12)]
    for number, arm in enumerate(arms):
        status = "failed" if number == 3 else "done" if number < 3 else "started"
        key = storage.scores([FAIR]) if status == "done" else None
        storage.trial(arm, key, status=status, kept=False)
    storage.study("made", arms)
    holder = Holder("host", 12, "", "") if running else None
    monkeypatch.setattr("wsss.report.compare.current_holder", lambda name, place: holder)
    found = compare(storage.root, ["made"])
    assert found.unfinished["made"] == Unfinished(3, 12, 1, running)
    show(found, "table")
    text = capsys.readouterr().out
    expected = "made is running: 3 of 12 trials done, 1 failed."
    assert (expected if running else "made is not at its end: 3 of 12 trials done, 1 failed.") in text
    for arm in arms:
        storage.trial(arm, storage.scores([FAIR]), kept=arm == arms[-1])
    assert not compare(storage.root, ["made"]).unfinished, "its last sweep has chosen"


def test_an_arm_whose_configurations_all_failed_is_one_row(storage: Storage) -> None:
    storage.trial("baseline", storage.scores([POOR, GOOD]))
    for number in range(4):
        storage.trial("fmix", None, id=f"cam-fmix-00{number}", status="failed", kept=False)
    rows = compare(storage.root, ["made"]).rows
    assert [(row.arm, row.status) for row in rows] == [("baseline", "done"), ("fmix", "failed")]


def test_of_a_few_images_that_agree_nothing_stands(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    """Five that all agree do so by chance in one case of 16: a sign test, which knows no spread."""
    for study, images, stands in (("made", 5, False), ("more", 6, True)):
        for arm, report in (("baseline", POOR), ("fmix", GOOD)):
            storage.twice(arm, [report] * images, study=study)
        found = compare(storage.root, [study])
        assert [one.significant for one in found.differences] == [stands]
        show(found, "table")
        printed = capsys.readouterr().out
        assert ("scored on fewer than 6 images" in " ".join(printed.split())) is not stands
        assert "with one seed" not in printed


def test_one_reported_image_has_no_interval_and_no_star(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    storage.twice("baseline", [POOR])
    storage.twice("fmix", [GOOD])
    found = compare(storage.root, ["made"])
    assert not any(difference.significant for difference in found.differences)
    show(found, "table")
    printed = capsys.readouterr().out
    assert "scored on ONE image" in printed and "[" not in printed.partition("Scored")[0]
    show(found, "csv")
    (record,) = [one for one in csv.DictReader(io.StringIO(capsys.readouterr().out)) if one["arm"] == "fmix"]
    assert record["cam"] == "1" and record["cam_low"] == record["cam_high"] == ""


def test_an_interval_of_few_seeds_stays_within_what_a_score_can_be(storage: Storage) -> None:
    """Two seeds with 0.45 and 1: Student reaches far above 1."""
    for seed, counts in ((1, POOR), (2, GOOD)):
        own = {"id": f"cam-a-000-s{seed}", "configuration": "cam-a-000", "seed": seed}
        storage.trial("a", storage.scores([counts, counts]), **own)
    cell = cells(storage)["a"]
    assert cell.low == 0 and cell.high == 1


def test_rows_of_several_studies_that_were_tuned_unequally_are_told(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    storage.trial("baseline", storage.scores([POOR, GOOD]))
    for number in range(4):
        fields = {"id": f"cam-fmix-00{number}", "study": "other", "kept": number == 0}
        storage.trial("fmix", storage.scores([FAIR, GOOD]), **fields)
    storage.study("other", ["fmix"])
    found = compare(storage.root, ["made", "other"])
    assert [row.tried and row.tried.configurations for row in found.rows] == [1, 4]
    assert found.unequal
    show(found, "csv")
    records = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {one["unequal"] for one in records if one["arm"] != "floor"} == {
        "Rows were NOT tuned equally: the best of more is better by chance alone. `compare --tuning` shows them "
        "at equal numbers of configurations."
    }


def test_networks_that_were_trained_differently_long_are_told(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where no check looked: a stored study of an earlier version, a base, two studies side by side."""
    for arm, epochs in (("baseline", 15), ("fmix", 25)):
        keys = {
            "classifier": storage.network("classifier", epochs=epochs),
            "cams.scores": storage.scores([POOR, GOOD]),
        }
        storage.trial(arm, None, keys=keys)
    show(compare(storage.root, ["made"]), "table")
    said = " ".join(capsys.readouterr().out.split())
    assert "Rows were NOT trained equally long: baseline for 15 epochs; fmix for 25 epochs." in said


def test_masks_that_an_arm_declares_are_pixel_labels(storage: Storage) -> None:
    storage.trial("a", storage.scores([GOOD, GOOD]))
    storage.study("made", ["a"])
    file = storage.root / "studies" / "made" / "study.yaml"
    content = yaml.safe_load(file.read_text())
    content["sweeps"][0]["arms"]["a"]["supervision"] = ["image", "masks"]
    file.write_text(yaml.safe_dump(content))
    (row,) = compare(storage.root, ["made"]).rows
    assert row.pixel_labels == ("study declares masks",)


def test_masks_that_were_allowed_are_told_of_where_a_row_was_trained_on_them(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    storage.allow = ("train_on_masks",)
    network = storage.network("classifier", supervision="masks")
    storage.trial("a", None, keys={"classifier": network, "cams.scores": storage.scores([GOOD])})
    show(compare(storage.root, ["made"]), "table")
    assert "made was allowed to train on masks" in capsys.readouterr().out


def test_masks_that_a_base_was_allowed_are_told_of(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    storage.allow = ("train_on_masks",)
    network = storage.network("classifier", supervision="masks")
    keys = {"classifier": network, "cams.scores": storage.scores([GOOD])}
    storage.trial("a", None, study="first", keys=keys)
    storage.allow = ()
    storage.trial("a+b", None, keys=keys)
    file = storage.root / "studies" / "made" / "study.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "base": {"study": "first"}}))
    show(compare(storage.root, ["made"]), "table")
    assert "first was allowed to train on masks" in capsys.readouterr().out


def test_a_step_may_be_called_as_a_column_of_thresholds_is(storage: Storage) -> None:
    first, second = storage.scores([GOOD]), storage.scores([FAIR])
    storage.trial("a", None, keys={"cams.scores": first, "area.scores": second})
    found = compare(storage.root, ["made"])
    header, _ = score_lines(found)
    groups = score_groups(found, header)
    assert sorted(column for group in groups for column in group) == list(range(1, len(header)))
    assert {tuple(header[column] for column in group[:2]) for group in groups[:2]} == {
        (name, "95 % interval") for name in ("CAM", "area")
    }


def test_every_step_with_a_threshold_has_columns_for_it(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    """The maps of a head are cut at a threshold, too."""
    first, second = storage.scores([GOOD]), storage.scores([FAIR])
    storage.trial("a", None, keys={"cams.scores": first, "maps.scores": second})
    storage.trial("b", None, keys={"cams.scores": first})
    show(compare(storage.root, ["made"]), "markdown")
    header, _, floor, *lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    names = [cell.strip() for cell in header.strip("|").split("|")]
    assert {"CAM τ", "CAM PxAP", "maps τ", "maps PxAP"} <= set(names)
    a, b = (dict(zip(names, (c.strip() for c in line.strip("|").split("|")), strict=True)) for line in lines)
    assert (a["maps τ"], a["maps area"], b["maps τ"], b["CAM τ"]) == ("0.30", "33.0", "", "0.30")
    assert len(floor.strip("|").split("|")) == len(names)


def test_latex_tables_fit_on_a_page(storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    storage.twice("baseline", [POOR, GOOD])
    storage.twice("fmix", [GOOD, GOOD])
    show(compare(storage.root, ["made"]), "latex")
    printed = capsys.readouterr().out
    widths = [len(found) for found in re.findall(r"\\begin\{tabular\}\{(l\w*)\}", printed)]
    assert len(widths) > 1 and max(widths) <= 8
    assert "PxAP" in printed and printed.count("fmix") >= len(widths), "each table names the arms"
