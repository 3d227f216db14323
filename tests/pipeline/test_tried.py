"""What a result was chosen from, and what that took: counted by hand on made-up ledgers."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml

from wsss.config import Study
from wsss.files import write_json
from wsss.pipeline.events import Tried
from wsss.pipeline.past.stored_studies import find_study
from wsss.pipeline.past.tried import attempts, tried_by
from wsss.store.ledger import Ledger
from wsss.store.storage import open_storage


class Made:
    """A storage in which trials are written down that nobody ran."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def study(self, name: str, *sweeps: dict[str, Any], **more: Any) -> Study:
        raw = {"name": name, "data": {"dataset": "sample"}, "sweeps": list(sweeps), **more}
        raw |= {"seed": 0, "retain": "kept", "tracking": {"uri": None}}
        folder = self.root / "studies" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "study.yaml").write_text(yaml.safe_dump(raw))
        return find_study(name, self.root)

    def artefact(
        self, seconds: float, *, epochs: int | None = None, device: str = "cpu", done: int = 0
    ) -> str:
        key = uuid.uuid4().hex * 2
        folder = open_storage(self.root).store.folder(key)
        folder.mkdir(parents=True)
        params = {} if epochs is None else {"epochs": epochs}
        history = [{"loss": 1.0}] * (done or epochs or 1)
        record = {"stage": "classifier", "files": {}, "params": params, "history": history}
        write_json(folder / "artefact.json", {**record, "seconds": seconds, "device": device})
        return key

    def trial(self, study: str, id: str, arm: str, *keys: str, status: str = "done", **fields: Any) -> None:
        ledger = Ledger(self.root / "studies" / study)
        rungs, seconds = fields.pop("rungs", []), fields.pop("seconds", 1.0)
        content = {
            "sweep": "cam", "seed": 0, "params": {}, "configuration": id, "upstream": "", "method": "cam",
            "backbone": "b", "keys": {f"stage{n}": key for n, key in enumerate(keys)}, **fields,
        }  # fmt: skip
        ledger.append("trial", id=id, arm=arm, **content)
        if status != "started":
            end = {"metrics": {}, "error": "", "reason": "", "rungs": rungs, "seconds": seconds}
            ledger.append("end", id=id, status=status, **end)

    def tried(self, study: str, arm: str, through: str | None = None) -> Tried:
        storage = open_storage(self.root)
        among = attempts(find_study(study, self.root), storage, through=through)
        return tried_by([arm], among, storage.store)[arm]


CAM = {
    "name": "cam",
    "arms": {"fmix": {"stages": ["classifier", "cams"]}, "cam": {"stages": ["classifier", "cams"]}},
}
MASKS = {"name": "masks", "stages": ["pseudo_masks"]}


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def test_all_that_ended_was_tried_and_seeds_are_no_configurations(made: Made) -> None:
    made.study("s", CAM)
    for number, status in enumerate(("done", "stopped", "failed", "started")):
        for seed in (1, 2):
            id = f"cam-fmix-00{number}"
            made.trial("s", f"{id}-s{seed}", "fmix", status=status, configuration=id, seed=seed)
    made.trial("s", "cam-cam-000", "cam")
    assert made.tried("s", "fmix").configurations == 3
    assert made.tried("s", "cam").configurations == 1


@pytest.mark.parametrize(("kept", "tried"), [(4, 1), (3, 4), (0, 4)])
def test_an_arm_that_keeps_all_has_chosen_none(made: Made, kept: int, tried: int) -> None:
    made.study("s", CAM)
    ids = [f"cam-fmix-00{number}" for number in range(4)]
    for id in ids:
        made.trial("s", id, "fmix")
    Ledger(made.root / "studies" / "s").append("kept", sweep="cam", ids=ids[:kept], keys=[])
    assert made.tried("s", "fmix").configurations == tried


def test_a_later_sweep_that_keeps_the_best_has_chosen_among_all(made: Made) -> None:
    made.study("s", CAM, MASKS)
    ledger = Ledger(made.root / "studies" / "s")
    for number in range(2):
        made.trial("s", f"cam-fmix-00{number}", "fmix")
        own = {"sweep": "masks", "upstream": f"cam-fmix-00{number}"}
        made.trial("s", f"masks-fmix-00{number}", "fmix", **own)
    ledger.append("kept", sweep="cam", ids=["cam-fmix-000", "cam-fmix-001"], keys=[])
    ledger.append("kept", sweep="masks", ids=["masks-fmix-001"], keys=[])
    assert made.tried("s", "fmix").configurations == 2
    ledger.append("kept", sweep="masks", ids=["masks-fmix-000", "masks-fmix-001"], keys=[])
    assert made.tried("s", "fmix").configurations == 1


def test_a_later_sweep_adds_the_ways_that_it_tries(made: Made) -> None:
    """Three classifiers, of which two are refined in two ways each: one end and four ends. Seeds try nothing."""
    again = {"name": "seeds", "replicate": "masks", "seeds": [1, 2]}
    made.study("s", CAM, MASKS, again)
    for number in range(3):
        made.trial("s", f"cam-fmix-00{number}", "fmix")
    for upstream in range(2):
        for number in range(2):
            id = f"masks-fmix-00{upstream}-00{number}"
            made.trial("s", id, "fmix", sweep="masks", upstream=f"cam-fmix-00{upstream}")
    first = "masks-fmix-000-000"
    for seed in (1, 2):
        own = {"configuration": "seeds-fmix-000-000", "seed": seed, "sweep": "seeds", "upstream": first}
        made.trial("s", f"seeds-fmix-000-000-s{seed}", "fmix", **own)
    assert made.tried("s", "fmix").configurations == 5
    assert made.tried("s", "fmix", through="cam").configurations == 3


def test_a_sweep_after_one_that_repeats_goes_on_from_what_was_repeated(made: Made) -> None:
    made.study("s", CAM, {"name": "seeds", "replicate": "cam", "seeds": [1, 2]}, MASKS)
    for number in range(2):
        made.trial("s", f"cam-fmix-00{number}", "fmix")
    for seed in (1, 2):
        own = {"configuration": "seeds-fmix-000", "seed": seed, "sweep": "seeds", "upstream": "cam-fmix-000"}
        made.trial("s", f"seeds-fmix-000-s{seed}", "fmix", **own)
        later = {
            "configuration": "masks-fmix-000-000",
            "sweep": "masks",
            "upstream": f"seeds-fmix-000-s{seed}",
        }
        made.trial("s", f"masks-fmix-000-s{seed}-000", "fmix", **later)
    assert made.tried("s", "fmix").configurations == 2


def test_ways_of_another_arm_are_not_ones_own(made: Made) -> None:
    two = {
        "name": "masks",
        "arms": {"crf": {"stages": ["pseudo_masks"]}, "walk": {"stages": ["pseudo_masks"]}},
    }
    made.study("s", CAM, two)
    made.trial("s", "cam-fmix-000", "fmix")
    for number in range(3):
        made.trial("s", f"masks-walk-00{number}", "fmix+walk", sweep="masks", upstream="cam-fmix-000")
    made.trial("s", "masks-crf-000", "fmix+crf", sweep="masks", upstream="cam-fmix-000")
    assert made.tried("s", "fmix+walk").configurations == 3
    assert made.tried("s", "fmix+crf").configurations == 1


def test_what_the_base_study_tried_counts_too(made: Made) -> None:
    made.study("first", CAM, MASKS)
    for number in range(4):
        made.trial("first", f"cam-fmix-00{number}", "fmix", made.artefact(3600, epochs=2))
    made.trial("first", "masks-fmix-000", "fmix", sweep="masks", upstream="cam-fmix-000")
    made.study("second", MASKS, base={"study": "first", "sweep": "cam"})
    for number in range(2):
        made.trial("second", f"m-fmix-00{number}", "fmix", sweep="masks", upstream="cam-fmix-001")
    found = made.tried("second", "fmix")
    assert (found.configurations, found.epochs, found.hours) == (5, 8, 4)


def test_epochs_and_hours_count_every_artefact_once(made: Made) -> None:
    gpu = {**CAM, "resources": {"gpu": 0.5}}
    made.study("s", gpu)
    shared, cams = made.artefact(7200, epochs=5, device="H100"), made.artefact(1800)
    made.trial("s", "cam-fmix-000", "fmix", shared, cams)
    made.trial("s", "cam-fmix-001", "fmix", shared, made.artefact(3600, epochs=9, done=3, device="H100"))
    found = made.tried("s", "fmix")
    assert (found.epochs, found.hours, found.gpu_hours) == (8, 3.5, 1.5)


def test_a_stopped_trial_tells_by_its_rungs_what_it_took(made: Made) -> None:
    made.study("s", {**CAM, "resources": {"gpu": 1}})
    rungs = [[1, 0.2], [4, 0.3]]
    made.trial("s", "cam-fmix-000", "fmix", "f" * 64, status="stopped", rungs=rungs, seconds=1800.0)
    found = made.tried("s", "fmix")
    assert (found.epochs, found.hours, found.gpu_hours) == (4, 0.5, 0.5)


def test_a_base_that_is_gone_leaves_what_is_known(made: Made) -> None:
    made.study("second", MASKS, base={"study": "first"})
    made.trial("second", "m-fmix-000", "fmix", sweep="masks", upstream="cam-fmix-001")
    assert made.tried("second", "fmix").configurations == 1


def test_a_configuration_that_was_drawn_again_was_tried_once(made: Made) -> None:
    made.study("s", CAM)
    key, other = made.artefact(60, epochs=1), made.artefact(60, epochs=1)
    for number in range(5):
        made.trial("s", f"cam-fmix-00{number}", "fmix", other if number == 4 else key)
    assert made.tried("s", "fmix").configurations == 2


def test_trials_of_a_base_may_have_the_same_names(made: Made) -> None:
    """Both studies call their only sweep `masks`, so both have a trial `masks-fmix-000-000`."""
    made.study("first", CAM, MASKS)
    made.trial("first", "cam-fmix-000", "fmix")
    made.trial("first", "masks-fmix-000-000", "fmix", sweep="masks", upstream="cam-fmix-000")
    made.study("second", MASKS, base={"study": "first"})
    for number in range(3):
        id = f"masks-fmix-000-00{number}"
        made.trial("second", id, "fmix", sweep="masks", upstream="masks-fmix-000-000")
    assert made.tried("second", "fmix").configurations == 3
