"""A storage is where it is found: what it keeps of a study says nothing of where it was."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import toy_studies as toy
from tiny_devkit import write_tiny_voc

from wsss.config import Study, load_study, load_study_text
from wsss.config.naming import names_a_file, study_name_problem
from wsss.config.smoke import smoke
from wsss.config.text.yaml_text import parse_yaml
from wsss.data.view import open_data
from wsss.errors import ConfigError, PreflightError
from wsss.pipeline.past.data_inventory import store_inventory, study_inventory
from wsss.pipeline.past.stored_studies import check_same_content, find_study, stored_text
from wsss.store.storage import open_storage

STUDY = """\
name: {name}
data:
  {data}
  classes: [bus, cat, dog]
  holdout: 0
  select: {{split: train}}
  report: {{split: val}}
sweeps:
  - {{name: cam, supervision: [image], stages: [{first}]}}
"""
CLASSIFIER = "classifier: {epochs: 2}, cams"


def study(
    storage: Path, data: str, first: str = CLASSIFIER, name: str = "s", base: Path = Path("/")
) -> Study:
    text = STUDY.format(name=name, data=data, first=first)
    return load_study_text(text, source="s.yaml", base=base, storage=str(storage))


def store(one: Study) -> Path:
    """Write a study as a run does; return its file."""
    storage = open_storage(one.storage)
    storage.write_study(one.name, stored_text(one, storage))
    storage.write_note(one.name, "data.json", "{}")  # work has begun
    return Path(one.storage) / "studies" / one.name / "study.yaml"


def test_a_stored_study_does_not_hold_its_storage_and_is_found_where_it_was_moved(tmp_path: Path) -> None:
    before = study(tmp_path / "old", "dataset: sample")
    assert str(tmp_path) not in store(before).read_text()
    (tmp_path / "old").rename(tmp_path / "new")
    found = find_study("s", tmp_path / "new")
    assert found.storage == tmp_path / "new"
    assert found.to_raw() == before.to_raw()
    assert not (tmp_path / "old").exists()


@pytest.mark.parametrize("line", ["storage: {old}", "storage: s3://bucket/old", "storage: [1]", "storage: 7"])
def test_the_storage_that_an_older_version_wrote_down_is_not_looked_at(tmp_path: Path, line: str) -> None:
    file = store(study(tmp_path / "new", "dataset: sample"))
    file.write_text(file.read_text() + line.format(old=tmp_path / "old") + "\n")
    found = find_study("s", tmp_path / "new", ["seed=3"])
    assert found.storage == tmp_path / "new" and found.seed == 3
    check_same_content(find_study("s", tmp_path / "new"))


@pytest.mark.parametrize("name", ["quickstart", "voc"])
def test_a_study_that_was_made_small_is_the_same_when_it_runs_again(name: str, tmp_path: Path) -> None:
    """Making it small gives many stages the same sizes, in one list."""
    file = Path(__file__).parents[2] / "tune_configs" / f"{name}.yaml"
    for _ in range(2):
        study = smoke(load_study(file, storage=str(tmp_path)))
        check_same_content(study, later=True)
        storage = open_storage(tmp_path)
        storage.write_study(study.name, stored_text(study, storage))
        storage.write_note(study.name, "data.json", "{}")  # work has begun


def test_a_study_that_stopped_before_its_first_trial_may_be_changed(tmp_path: Path) -> None:
    """A run that ends at missing weights, a full disk or a wrong path has stored the study, and no trial."""
    one = study(tmp_path / "runs", "dataset: sample")
    place = open_storage(one.storage)
    place.write_study(one.name, stored_text(one, place))
    place.ledger("s").append("run", id="a", seconds=1.0, gpu_seconds=0.0, trials=[])
    other = study(tmp_path / "runs", "dataset: sample", "classifier: {epochs: 3}, cams")
    check_same_content(other)
    trial = {"id": "cam-cam-000", "sweep": "cam", "arm": "cam", "seed": 0, "params": {}, "upstream": ""}
    more = {"configuration": "cam-cam-000", "method": "cam", "backbone": "b", "keys": {}}
    place.ledger("s").append("trial", **trial, **more)
    with pytest.raises(ConfigError, match="another study named 's'"):
        check_same_content(other)
    place.ledger("s").path.write_bytes(bytes(100))  # who knows what the study has made
    with pytest.raises(ConfigError, match="another study named 's'"):
        check_same_content(other)


def test_a_pipe_beside_a_study_is_not_waited_for(tmp_path: Path) -> None:
    place = open_storage(tmp_path)
    place.write_study("s", "name: s")
    os.mkfifo(tmp_path / "studies" / "s" / "data.json")
    assert place.note("s", "data.json") is None


def test_a_stored_study_is_not_told_to_be_elsewhere(tmp_path: Path) -> None:
    store(study(tmp_path, "dataset: sample"))
    with pytest.raises(ConfigError, match="a stored study is where it was found"):
        find_study("s", tmp_path, ["storage=/elsewhere"])


def test_a_copied_study_has_the_name_of_its_folder(tmp_path: Path) -> None:
    store(study(tmp_path, "dataset: sample"))
    shutil.copytree(tmp_path / "studies/s", tmp_path / "studies/copy")
    assert find_study("copy", tmp_path).name == "copy"
    assert find_study("s", tmp_path, ["name=third"]).name == "third"


def test_storages_whose_names_look_like_yaml(tmp_path: Path) -> None:
    for name in ("2024", "a: b", "no # comment", "null", "[x]"):
        assert study(tmp_path / name, "dataset: sample").storage == tmp_path / name
    text = STUDY.format(name="s", data="dataset: sample", first=CLASSIFIER)
    assert load_study_text(text, source="s", base=Path("/"), name="2024").name == "2024"


def test_data_inside_a_storage_go_with_it(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    (old / "cams").mkdir(parents=True)
    root = write_tiny_voc(old / "mine/voc")
    inside = study(old, f"root: {root}", f"import: {{cams: {old / 'cams'}}}, pseudo_masks")
    file = store(inside)
    assert str(tmp_path) not in file.read_text()
    check_same_content(inside)
    shutil.copytree(old, new)
    copied = find_study("s", new)
    assert copied.data.root == new / "mine/voc"
    assert copied.sweeps[0].arms[0].stages[0].params["cams"] == str(new / "cams")
    outside = study(old, f"root: {tmp_path / 'elsewhere'}", name="outside")
    store(outside)
    assert find_study("outside", old).data.root == tmp_path / "elsewhere"


WEIGHTS = "classifier: {{backbone: mobilenet_v2, weights: {weights}, epochs: 2}}, cams"


def test_weights_lie_beside_the_study_file_wherever_it_is_run_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a study that was stored finds them, too."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for given, expected in (
        ("w.pth", f"{tmp_path}/my/w.pth"),
        ("../w.pth", f"{tmp_path}/w.pth"),
        ("~/w.pth", f"{tmp_path}/home/w.pth"),
        ("/lab/w.pth", "/lab/w.pth"),
        *((word, word) for word in ("package", "download", "none")),
    ):
        one = study(tmp_path / "runs", "dataset: sample", WEIGHTS.format(weights=given), base=tmp_path / "my")
        store(one)
        for found in (one, find_study("s", tmp_path / "runs")):
            assert next(use for *_, use in found.uses()).params["weights"] == expected
        shutil.rmtree(tmp_path / "runs")


def test_moved_weights_are_named_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store(study(tmp_path / "runs", "dataset: sample", WEIGHTS.format(weights="/lab/w.pth")))
    found = find_study("s", tmp_path / "runs", ["sweeps.cam.classifier.weights=new/w.pth"])
    assert next(use for *_, use in found.uses()).params["weights"] == f"{tmp_path}/new/w.pth"
    found = find_study("s", tmp_path / "runs", ["sweeps.cam.classifier.weights=none"])
    assert next(use for *_, use in found.uses()).params["weights"] == "none"


def test_a_home_that_nobody_has_is_a_folder_that_is_not_there(tmp_path: Path) -> None:
    store(study(tmp_path / "runs", "dataset: voc\n  root: /photos"))
    found = find_study("s", tmp_path / "runs", ["data.root=~nobody-of-this-name/x"])
    assert found.data.root == Path("~nobody-of-this-name/x").absolute()


@pytest.mark.parametrize(
    ("old", "new"), [("none", "download"), ("/lab/w.pth", "none"), ("/lab/w.pth", "/new/w.pth")]
)
def test_other_weights_are_another_study(tmp_path: Path, old: str, new: str) -> None:
    data = "dataset: sample"
    before, now = (study(tmp_path, data, WEIGHTS.format(weights=weights)) for weights in (old, new))
    store(before)
    with pytest.raises(ConfigError, match="weights"):
        check_same_content(now, later=True)


def test_the_database_in_the_storage_goes_with_it_and_another_stays(tmp_path: Path) -> None:
    for name, uri in (("own", f"sqlite:///{tmp_path}/old/mlflow.db"), ("other", "sqlite:////srv/mlflow.db")):
        one = load_study_text(
            STUDY.format(name=name, data="dataset: sample", first=CLASSIFIER)
            + f"tracking: {{uri: '{uri}'}}\n",
            source="s.yaml",
            base=Path("/"),
            storage=str(tmp_path / "old"),
        )
        store(one)
    assert find_study("own", tmp_path / "old").tracking.uri is None
    assert find_study("other", tmp_path / "old").tracking.uri == "sqlite:////srv/mlflow.db"


def test_moved_data_are_named_from_here_and_take_labels_and_masks_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "old"
    (old / "masks").mkdir(parents=True)
    text = f"""\
name: photos
data: {{dataset: folder, root: {old}, labels: {old}/table.csv}}
sweeps: [{{name: cam, stages: [{CLASSIFIER}]}}]
"""
    store(load_study_text(text, source="s", base=Path("/"), storage=str(tmp_path / "runs")))
    old.rename(tmp_path / "new: place")
    monkeypatch.chdir(tmp_path)
    found = find_study("photos", tmp_path / "runs", ["data.root='new: place'"]).data
    new = tmp_path / "new: place"
    assert (found.root, found.labels, found.masks) == (new, new / "table.csv", new / "masks")
    other = find_study("photos", tmp_path / "runs", ["data.root=x", "data.masks=y", "data.labels=z.csv"]).data
    assert (other.root, other.labels, other.masks) == (tmp_path / "x", tmp_path / "z.csv", tmp_path / "y")


def test_moved_data_are_the_same_study_if_they_hold_the_same(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    one = study(runs, f"root: {write_tiny_voc(tmp_path / 'a')}")
    store(one)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    moved = study(runs, f"root: {tmp_path / 'b'}")

    def holds(one: Study) -> object:
        return study_inventory(one, open_data(one.data, storage=runs))

    with pytest.raises(ConfigError, match="may change where the data have not"):  # nothing is known of them
        check_same_content(moved, holds(moved))  # type: ignore[arg-type]
    store_inventory(open_storage(runs), "s", holds(one))  # type: ignore[arg-type]
    check_same_content(moved, later=True)
    check_same_content(moved, holds(moved))  # type: ignore[arg-type]
    (tmp_path / "b/JPEGImages/x_4.jpg").write_bytes((tmp_path / "b/JPEGImages/2007_000001.jpg").read_bytes())
    moved = study(runs, f"root: {tmp_path / 'b'}")
    with pytest.raises(ConfigError, match="where the data have not"):
        check_same_content(moved, holds(moved))  # type: ignore[arg-type]
    check_same_content(one, holds(one))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"\+seed: 4"):
        check_same_content(find_study("s", runs, ["seed=4"]), later=True)


def test_a_base_is_looked_for_in_the_storage_that_the_study_was_found_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = toy.install(monkeypatch)
    sweep = "name: cam, stages: [classifier: {epochs: 2, lr: 0.1}, cams]"
    first = toy.study(tmp_path / "old", sweep, name="first")
    toy.run(first, data)
    text = stored_text(first, open_storage(first.storage)).replace("name: first", "name: second")
    text = text.replace("data:", "base: {study: first}\ndata:", 1)
    start = text.index("sweeps:")
    text = text[:start] + "sweeps: [{name: more, stages: [pseudo_masks]}]\nretain: all\n"
    second = load_study_text(text, source="second.yaml", base=Path("/"), storage=str(tmp_path / "old"))
    store(second)
    (tmp_path / "old").rename(tmp_path / "new")
    outcome, _ = toy.run(find_study("second", tmp_path / "new"), data)
    assert outcome.trials == 1 and not outcome.failed
    assert not (tmp_path / "old").exists()


def test_files_have_an_ending_or_are_there_and_all_else_is_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "plain").write_text("")
    for word, is_file in {
        "photos": False, "exp.1": False, "plain": True, "missing.yaml": True, "missing.YML": True,
        "folder.yaml": True, "a/b": False, "x" * 5000: False, "photos/": False,
    }.items():  # fmt: skip
        assert names_a_file(word) is is_file, word


@pytest.mark.parametrize("name", ["exp.1", "2024", "a_b-c.d", "aé"])
def test_what_may_be_named_at_run_may_be_named_at_resume(tmp_path: Path, name: str) -> None:
    assert not study_name_problem(name)
    store(study(tmp_path, "dataset: sample", name=f"'{name}'"))
    assert find_study(name, tmp_path).name == name


@pytest.mark.parametrize(
    "name", ["exp.yaml", "exp.YML", ".hidden", "a/b", "..", "a b", "x" * 121, "a\\nb", ""]
)
def test_what_could_not_be_named_at_resume_is_refused_at_run(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="the name of the study"):
        study(tmp_path, "dataset: sample", name=f'"{name}"')
    with pytest.raises(ConfigError, match="no study is named"):
        find_study(name, tmp_path)


def test_a_study_that_an_earlier_version_named_so_can_still_be_compared(tmp_path: Path) -> None:
    file = store(study(tmp_path, "dataset: sample", name="good"))
    file.parent.rename(file.parent.with_name("old.yaml"))
    assert open_storage(tmp_path).study_names() == ["old.yaml"]
    assert find_study("old.yaml", tmp_path).name == "old.yaml"
    with pytest.raises(ConfigError, match="with that ending are files"):
        find_study("old.yaml", tmp_path, rename="new.yml")


def test_a_name_that_is_a_file_without_its_ending_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("")
    with pytest.raises(ConfigError, match=r"no study is named 'mine' \(there is a file mine.yaml\)"):
        find_study("mine", tmp_path / "runs")


def test_what_is_stored_reads_back_as_it_was_in_any_case(tmp_path: Path) -> None:
    one = study(tmp_path, "dataset: sample")
    raw = parse_yaml(stored_text(one, open_storage(tmp_path)), "x").value
    assert raw == one.to_raw() and "storage" not in raw


@pytest.mark.parametrize("content", ["", "name: s\ndata: {", "name: s\ndata: {dataset: sample}\n", "[1]"])
def test_a_stored_study_that_was_damaged_says_how_to_go_on(tmp_path: Path, content: str) -> None:
    file = store(study(tmp_path, "dataset: sample"))
    file.write_text(content)
    with pytest.raises(
        ConfigError, match=r"study\.yaml.*move it away and `run` the study with your own file"
    ):
        find_study("s", tmp_path)


def test_a_stored_study_that_was_cut_is_never_taken_for_a_shorter_one(tmp_path: Path) -> None:
    file = store(study(tmp_path, "dataset: sample"))
    whole = file.read_text()
    last = whole.index("tracking:")
    for cut in range(0, last, 7):
        file.write_text(whole[:cut])
        with pytest.raises(ConfigError, match=r"move it away and `run` the study"):
            find_study("s", tmp_path)


def test_a_study_whose_file_was_deleted_is_not_unknown(tmp_path: Path) -> None:
    file = store(study(tmp_path, "dataset: sample"))
    open_storage(tmp_path).ledger("s").append("begin", id="x")
    file.unlink()
    with pytest.raises(ConfigError, match=r"study\.yaml: is missing \(`run` the study with your own file"):
        find_study("s", tmp_path)


@pytest.mark.parametrize("name", ["store", "studies"])
def test_a_file_where_a_storage_has_a_folder_is_said_before_anything_starts(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("x")
    with pytest.raises(PreflightError, match=f"{tmp_path}/{name}: is a file, but must be a folder"):
        open_storage(tmp_path).check()
