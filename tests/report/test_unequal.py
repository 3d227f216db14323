"""Ways to win a comparison unfairly, and the sentence that each of them puts below every table."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_up import FAIR, GOOD, POOR, Storage

from wsss.cli.comparison.compare import View, show
from wsss.cli.comparison.tuning import tuning_notes
from wsss.files import describe_files, read_json, write_json
from wsss.pipeline.past.archive import write_archive
from wsss.report.compare import compare
from wsss.report.conclusion import note_of
from wsss.report.frame import comparison_json
from wsss.report.page.answer import UNLIKE, answers
from wsss.report.page.build import render
from wsss.report.page.content import read_content
from wsss.report.tuned.rows import tuning
from wsss.report.words.notes import notes
from wsss.report.words.titles import arm_title
from wsss.report.words.unequal import marks
from wsss.store.storage import open_storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path)


def arm(storage: Storage, name: str, *networks: str, study: str = "made", **fields: Any) -> None:
    """Record a trial with networks, whose CAMs score alike."""
    keys = {f"stage{number}": key for number, key in enumerate(networks)}
    scores = fields.pop("scores", None) or storage.scores([POOR, GOOD])
    storage.trial(name, None, keys={**keys, "cams.scores": scores}, study=study, **fields)


def change(storage: Storage, study: str, **content: Any) -> None:
    file = storage.root / "studies" / study / "study.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **content}))


def said(storage: Storage, *names: str) -> list[str]:
    return marks(compare(storage.root, names or ["made"]))


def only(lines: list[str], beginning: str) -> str:
    (line,) = [line for line in lines if line.startswith(beginning)]
    return line


# The sentences


@pytest.mark.parametrize(
    ("stage", "key", "values", "told"),
    [
        ("cams", "scales", ([1.0], [0.5, 1.0, 1.5]), "cams.scales [1] for baseline, [0.5, 1, 1.5] for fmix"),
        ("cams", "flip", (False, True), "cams.flip false for baseline, true for fmix"),
        ("classifier", "crop", (128, 448), "classifier.crop 128 for baseline, 448 for fmix"),
        ("segmentations", "crf", (None, {"iterations": 10}), "segmentations.crf by default for baseline, yes for fmix"),
        ("pixel_head", "photos", (10, 500), "pixel_head.photos 10 for baseline, 500 for fmix"),
    ],
)  # fmt: skip
def test_larger_images_and_more_looks_are_told(
    storage: Storage, stage: str, key: str, values: tuple[Any, Any], told: str
) -> None:
    for name, value in zip(("baseline", "fmix"), values, strict=True):
        arm(storage, name, storage.network(stage, **{key: value}))
    assert only(said(storage), "Rows were NOT made alike") == f"Rows were NOT made alike: {told}."


def test_a_larger_batch_counts_where_updates_do(storage: Storage) -> None:
    """With epochs, all networks see as many photos; with 400 updates, those with larger batches see more."""
    for name, batch in (("baseline", 4), ("fmix", 64)):
        networks = [
            storage.network("classifier", epochs=5, batch=batch),
            storage.network("pixel_head", iterations=400, batch=batch),
        ]
        arm(storage, name, *networks)
    line = only(said(storage), "Rows were NOT made alike")
    assert line == "Rows were NOT made alike: pixel_head.batch 4 for baseline, 64 for fmix."


def test_more_training_photos_are_told(storage: Storage) -> None:
    for study, images in (("train", 1464), ("trainaug", 10582)):
        arm(storage, "cam", storage.network("classifier", {"images": images}), study=study)
    line = only(said(storage, "train", "trainaug"), "Rows were NOT made alike")
    assert "training photos 1464 for train: cam, 10582 for trainaug: cam" in line


def test_a_teachers_settings_are_its_own(storage: Storage) -> None:
    """The ledger sorts a chain's labels: the last of a stage is the one from which no other was made."""
    arm(storage, "cam", storage.network("classifier", {"images": 10}, crop=128))
    teacher = storage.network("classifier", {"images": 99}, crop=512)
    pupil = storage.network("classifier", {"images": 10}, crop=128)
    file = storage.store.folder(pupil) / "artefact.json"
    write_json(file, {**read_json(file), "inputs": {"classifier": {"key": teacher, "digest": ""}}})
    keys = {"classifier": pupil, "teacher": teacher, "cams.scores": storage.scores([POOR, GOOD])}
    storage.trial("teaching", None, keys=keys)
    assert not [line for line in said(storage) if "made alike" in line]
    assert [row.trained_on for row in compare(storage.root, ["made"]).rows] == [10, 10]
    assert only(said(storage), "Rows were NOT trained equally long")


def test_a_training_that_patience_ended_is_told(storage: Storage) -> None:
    key = storage.network("segmenter", epochs=20)
    file = storage.store.folder(key) / "artefact.json"
    write_json(file, {**read_json(file), "history": [{"loss": 1.0}] * 7})
    arm(storage, "baseline", key)
    found = compare(storage.root, ["made"])
    assert (found.rows[0].trained, found.rows[0].trained_really) == ((20, 0), 7)
    assert only(marks(found), "Training ended early").endswith("baseline after 7 of 20 epochs.")


def test_a_mean_over_the_seeds_that_survived_says_which_did_not(storage: Storage) -> None:
    for seed, status in ((1, "done"), (2, "failed"), (3, "stopped")):
        own = {"id": f"cam-fmix-000-s{seed}", "configuration": "cam-fmix-000", "seed": seed, "status": status}
        arm(storage, "fmix", kept=seed == 1, **own)
    assert only(said(storage), "fmix lacks seeds 2, 3")


def test_what_another_program_made_once_has_no_star_however_many_seeds_it_is_given(storage: Storage) -> None:
    """An import is the same with each seed; so is a command that sets a seed of its own."""
    made = [storage.made("command", {}, seed=seed) for seed in range(3)]
    for name, maps in (("import", [made[0]] * 3), ("command", made)):
        for seed, key in enumerate(maps):
            (storage.store.folder(key) / "map.npy").write_bytes(
                b"same" if name == "import" else bytes([seed])
            )
            sign(storage, key, "map.npy")
        for seed, key in enumerate(maps):
            fields = {"id": f"{name}-s{seed}", "configuration": name, "seed": seed, "study": name}
            arm(storage, "theirs", key, scores=storage.scores([GOOD] * 8), **fields)
            arm(
                storage,
                "baseline",
                scores=storage.scores([POOR] * 8),
                **{**fields, "id": f"b-s{seed}", "configuration": "b"},
            )
        found = compare(storage.root, [name])
        (difference,) = found.differences
        assert (difference.seeds, difference.significant) == ((1, False) if name == "import" else (3, True))
        once = [line for line in marks(found) if "the SAME with each of its seeds" in line]
        assert bool(once) == (name == "import")


def sign(storage: Storage, key: str, name: str) -> None:
    """Put a file into an artefact's record."""
    folder = storage.store.folder(key)
    record = read_json(folder / "artefact.json")
    write_json(folder / "artefact.json", {**record, "files": describe_files(folder, [name])})


def test_arms_without_a_result_are_told_and_rest_on_nothing(storage: Storage) -> None:
    """The baseline's trials all fail; fmix scores, and all its masks fail; mixup is fine."""
    for seed in (1, 2):
        arm(storage, "baseline", id=f"b{seed}", seed=seed, status="failed", kept=False, scores="x")
    arm(storage, "fmix", storage.network("classifier"))
    arm(storage, "mixup", storage.network("classifier"))
    arm(storage, "fmix", id="masks-fmix", sweep="masks", status="failed", kept=False, scores="x")
    found = compare(storage.root, ["made"])
    assert "NO result of baseline in sweep cam: 2 failed trials." in marks(found)
    assert "NO result of fmix in sweep masks: 1 failed trial." in marks(found)
    assert not [line for line in marks(found) if "NO result of mixup" in line]
    assert found.supervisions == (("image",),), "what failed rests on nothing"
    assert [row.arm for row in found.rows] == ["fmix", "mixup", "baseline"]


def test_what_has_failed_is_no_baseline_unless_it_is_called_so(storage: Storage) -> None:
    arm(storage, "first", status="failed", kept=False, scores="x", method="cam")
    arm(storage, "second", method="cam")
    arm(storage, "third", method="fmix")
    assert compare(storage.root, ["made"]).baseline == "second"
    arm(storage, "baseline", status="failed", kept=False, scores="x")
    assert compare(storage.root, ["made"]).baseline == "baseline", "no other one takes its place untold"


def test_a_study_without_any_result_says_so_everywhere(storage: Storage) -> None:
    for name in ("baseline", "fmix"):
        arm(storage, name, status="failed", kept=False, scores="x")
    storage.trial("fmix", None, id="last", status="failed")
    found = compare(storage.root, ["made"])
    titles = tuple(arm_title(row, found) for row in found.rows)
    for text in (notes(found), note_of(found, titles), render(read_content(storage.root, ["made"]))):
        assert "no trial came to a result" in text and "NO result of baseline in sweep cam" in text
        assert "the data have no masks" not in text
    assert all("NO result" in row["unequal"] for row in comparison_json(found)["table"])
    said = tuning_notes(tuning(storage.root, ["made"]))
    assert [line for line in said if line.startswith("NO configuration of baseline in cam has a score")]


def test_the_best_of_several_rows_of_an_arm_was_chosen_by_what_is_reported(storage: Storage) -> None:
    arm(storage, "baseline")
    for number in range(3):
        arm(storage, "fmix", id=f"cam-fmix-00{number}")
    assert "(3 of fmix)" in only(said(storage), "Arms stand here with several configurations")


def test_a_base_that_is_gone_is_told(storage: Storage) -> None:
    arm(storage, "fmix", study="second")
    change(storage, "second", base={"study": "first"})
    line = only(said(storage, "second"), "second is based on first, which is NOT in this storage")
    assert "what that tried, declared and was allowed is unknown" in line


def test_what_a_base_was_allowed_stands_below_the_tables_of_all_that_are_based_on_it(
    storage: Storage,
) -> None:
    arm(storage, "fmix", study="first")
    change(storage, "first", allow=[{"unequal_epochs": "two rounds"}])
    arm(storage, "fmix", study="second")
    change(storage, "second", base={"study": "first"})
    arm(storage, "fmix", study="third")
    change(storage, "third", base={"study": "second"})
    assert only(said(storage, "third"), "first has UNEQUAL epochs: two rounds.")
    file = storage.root / "third.tar.xz"
    write_archive(open_storage(storage.root), ["third"], file)
    with tarfile.open(file) as tar:
        tar.extractall(storage.root / "packed", filter="data")
    packed = compare(storage.root / "packed" / "runs", ["third"])
    assert marks(packed) == said(storage, "third"), "its bases are in its archive"


def test_the_control_of_a_base_is_that_of_what_is_based_on_it(storage: Storage) -> None:
    for study in ("first", "second"):
        arm(storage, "dealt", study=study)
        arm(storage, "clusters", study=study)
    storage.study("first", ["dealt", "clusters"], clusters="dealt")
    change(storage, "second", base={"study": "first"})
    assert [row.control for row in compare(storage.root, ["second"]).rows] == ["", "dealt"]


def test_what_another_study_found_is_no_single_try(storage: Storage) -> None:
    """Study `tuned` tries four; study `fair` fixes the best of them beside a baseline: one try each, it says."""
    networks = [storage.network("classifier", lr=number) for number in range(4)]
    for number, network in enumerate(networks):
        arm(storage, "fmix", network, study="tuned", id=f"cam-fmix-00{number}", kept=number == 2)
    arm(storage, "baseline", storage.network("classifier"), study="fair")
    arm(storage, "fmix", networks[2], study="fair")
    found = compare(storage.root, ["fair"])
    assert not found.unequal
    line = only(marks(found), "fmix may have been CHOSEN elsewhere")
    assert "study tuned of this storage has its settings among 4 that it tried" in line
    change(storage, "fair", base={"study": "tuned"})  # then `tried` counts them
    assert not [line for line in said(storage, "fair") if "elsewhere" in line]


def test_arms_that_differ_in_numbers_alone_are_tries_as_well(storage: Storage) -> None:
    """A search that is written down as arms: each has one configuration."""
    networks = [storage.network("classifier", lr=0.01 * (number + 1)) for number in range(4)]
    for number, network in enumerate(networks):
        arm(storage, f"fmix{number}", network, study="tuned", id=f"cam-fmix{number}-000")
    arm(storage, "hiding", storage.network("classifier", lr=0.5, hides="squares"), study="tuned")
    arm(storage, "baseline", storage.network("classifier"), study="fair")
    arm(storage, "fmix", networks[2], study="fair")
    line = only(said(storage, "fair"), "fmix may have been CHOSEN elsewhere")
    assert "study tuned of this storage has its settings among 4 that it tried" in line
    for number, network in enumerate(networks):  # in its own table all of them would be rows
        arm(storage, f"fmix{number}", network, study="open", id=f"cam-fmix{number}-000")
    assert not [line for line in said(storage, "open") if "elsewhere" in line]


def test_arms_of_a_later_study_are_no_tries_of_an_earlier_one(storage: Storage) -> None:
    networks = [storage.network("classifier", lr=0.01 * (number + 1)) for number in range(3)]
    arm(storage, "baseline", storage.network("classifier"), study="first")
    arm(storage, "fmix", networks[0], study="first")
    for number, network in enumerate(networks):
        arm(storage, f"fmix{number}", network, study="later", id=f"cam-fmix{number}-000")
    assert not [line for line in said(storage, "first") if "elsewhere" in line]


def test_settings_that_another_study_found_are_known_with_another_seed_and_rounded(storage: Storage) -> None:
    """What a person copies from a table, of a walk after a network: other keys, and three digits."""
    tuned, lr = storage.network("classifier", lr=0.0123456), 0.0123
    for number, exponent in enumerate([4.4321, 8.8765, 12.111]):
        walk = storage.made("walk", {"classifier": tuned}, exponent=exponent)
        fields = {"study": "tuned", "id": f"cam-fmix-00{number}", "params": {"exponent": exponent}}
        arm(storage, "fmix", tuned, walk, **fields)
    arm(storage, "baseline", storage.network("classifier"), study="fair")
    again = storage.network("classifier", lr=lr)
    arm(storage, "fmix", again, storage.made("walk", {"classifier": again}, exponent=8.88), study="fair")
    line = only(said(storage, "fair"), "fmix may have been CHOSEN elsewhere")
    assert "study tuned of this storage has its settings among 3 that it tried" in line
    other = storage.network("classifier", lr=0.05)
    arm(storage, "other", other, storage.made("walk", {"classifier": other}, exponent=8.88), study="unlike")
    assert not [line for line in said(storage, "unlike") if "elsewhere" in line], "another network"
    for study, photo in (("tuned", "a" * 12), ("fair", "b" * 12)):
        held = {"images": {"one": ["s", photo]}, "classes": ["cat"]}
        (storage.root / "studies" / study / "data.json").write_text(json.dumps(held))
    assert not [line for line in said(storage, "fair") if "elsewhere" in line], "of other photos"


def test_what_is_tuned_here_as_often_was_not_chosen_elsewhere(storage: Storage) -> None:
    for study in ("one", "two"):
        for number in range(3):
            network = storage.network("classifier", lr=0.1 * (number + 1))
            fields = {"id": f"cam-fmix-00{number}", "params": {"lr": 0.1 * (number + 1)}}
            arm(storage, "fmix", network, study=study, kept=number == 0, **fields)
    assert not [line for line in said(storage, "one") if "elsewhere" in line]


def test_studies_that_searched_in_other_ways_are_told(storage: Storage) -> None:
    searched = {"stages": [{"classifier": {"lr": "$lr"}}, "cams"], "samples": 2}
    sweep = {"name": "cam", "arms": {"a": {**searched, "search": {"lr": {"uniform": [0.1, 0.2]}}}}}
    for study, fields in {
        "one": {"metric": "cams/select/miou"},
        "two": {"metric": "cams/select/pxap", "searcher": "optuna"},
    }.items():
        arm(storage, "a", study=study)
        change(storage, study, sweeps=[{**sweep, **fields}])
    line = only(said(storage, "one", "two"), "Rows were NOT searched alike")
    assert "random search by select/miou for one, optuna search by select/pxap for two" in line


def test_rows_that_were_chosen_on_other_images_are_told(storage: Storage) -> None:
    for study, ids in (("few", ["a"]), ("many", ["a", "b", "c"])):
        arm(storage, "cam", study=study, scores=storage.scores([POOR, GOOD], chosen_on=ids))
    line = only(said(storage, "few", "many"), "CAM: thresholds and configurations")
    assert "NOT all chosen on the same `select` images: more masks choose better" in line


def test_a_stored_study_that_was_changed_by_hand_says_what_no_allow_names(storage: Storage) -> None:
    for name in ("baseline", "fmix"):
        arm(storage, name)
    stages = [{"classifier": {"backbone": "mobilenet_v2", "epochs": 8}}, "cams", "pseudo_masks"]
    arms = {
        "baseline": {"stages": stages, "stop_below": {"cams/select/miou": 0.9}},
        "fmix": {"stages": stages},
    }
    change(storage, "made", sweeps=[{"name": "cam", "arms": arms}])
    line = only(said(storage), "made has UNEQUAL arms that its `allow` doesn't name")
    assert "stopped by different rules: baseline (cams/select/miou below 0.9), fmix (none)" in line
    change(storage, "made", allow=["unequal_tuning"])
    assert only(said(storage), "made has UNEQUAL tuning")
    assert not [line for line in said(storage) if "doesn't name" in line]


def test_what_scores_as_the_truth_is_the_truth(storage: Storage) -> None:
    """The data set's own masks, imported as somebody's result, declared as `image`."""
    arm(storage, "baseline")
    arm(storage, "theirs", scores=storage.scores([GOOD] * 4))
    assert only(said(storage), "CAM of theirs: pixel for pixel the masks")


# Where they stand


def test_every_sentence_stands_in_every_kind_of_table_in_the_note_and_on_the_page(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, scales in (("baseline", [1.0]), ("fmix", [0.5, 1.0])):
        key = storage.scores([POOR, GOOD] if name == "baseline" else [FAIR, GOOD])
        arm(storage, name, storage.network("cams", scales=scales), scores=key)
    arm(storage, "foreign", storage.network("command", makes="cams"))
    found = compare(storage.root, ["made"])
    lines = marks(found)
    assert len(lines) == 2 and "made by other programs" in lines[1].lower()

    def printed(format_: str, view: View = View.scores) -> str:
        show(found, format_, view)
        return capsys.readouterr().out

    for format_ in ("table", "markdown", "latex"):
        text = " ".join(printed(format_).split())
        assert all(line in text for line in lines), format_
    for view in (View.scores, View.classes, View.errors):
        records = list(csv.DictReader(io.StringIO(printed("csv", view))))
        assert {record["unequal"] for record in records if record["arm"] != "floor"} == {" ".join(lines)}
        table = json.loads(printed("json", view))["table"]
        assert {record.get("unequal") for record in table if record["arm"] != "floor"} == {" ".join(lines)}
    titles = tuple(arm_title(row, found) for row in found.rows)
    assert answers(found, titles)[-1] == UNLIKE
    note = note_of(found, titles)
    assert all(line in note for line in lines) and UNLIKE in note


def test_nothing_was_chosen_of_networks_that_need_no_threshold_and_were_tried_once(storage: Storage) -> None:
    def answer(name: str, chosen_on: list[str], **fields: Any) -> None:
        score = storage.scores([POOR, GOOD], kind="segmentations", chosen_on=chosen_on)
        storage.trial(name, None, keys={"segmentations.scores": score}, **fields)

    answer("few", ["a"])
    answer("many", ["a", "b"])
    assert not [line for line in said(storage) if "NOT all chosen" in line]
    answer("many", ["a", "b"], id="cam-many-001", kept=False)
    assert [line for line in said(storage) if "NOT all chosen" in line]


def test_a_baseline_of_several_configurations_is_named_and_may_be_beaten(storage: Storage) -> None:
    """Its first configuration is what others are compared with; another one leads."""
    for number, report in enumerate(([FAIR] * 6, [GOOD] * 6)):
        own = {"id": f"cam-baseline-00{number}", "params": {"weight": number}}
        storage.trial("baseline", storage.scores(report), **own)
    found = compare(storage.root, ["made"])
    assert "Δ: paired difference to baseline (weight 0)," in notes(found)
    (line, *_) = answers(found, tuple(arm_title(row, found) for row in found.rows))
    assert "baseline (weight 1) leads" in line and "points to baseline (weight 0)" in line


def test_of_a_step_that_all_arms_share_none_is_said_to_win(storage: Storage) -> None:
    for name in ("baseline", "again"):
        storage.trial(name, storage.scores([FAIR] * 6))
    found = compare(storage.root, ["made"])
    (line, *_) = answers(found, tuple(arm_title(row, found) for row in found.rows))
    assert line.startswith("CAM: all 2 rows have the same, ")
