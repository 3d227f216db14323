"""Programs as they are found: they print anything, write elsewhere, leave children, change what they were given."""

from __future__ import annotations

import subprocess
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_data import tiny_data

from wsss.config import load_study_text
from wsss.data.view import DataView, open_data
from wsss.errors import StageError
from wsss.pipeline.chains.chain import Chain
from wsss.pipeline.chains.execute import run_chain
from wsss.pipeline.events import TrialProgress
from wsss.pipeline.search.trials import sweep_trials
from wsss.report.origins import made_elsewhere
from wsss.store.folder_store import Store

STUDY = (
    f"name: odd\n{tiny_data(8, 4)}"
    + """\
sweeps:
  - name: cam
    stages:
      - command: {as: first, makes: cams, run: [python, maps.py, "{data.root}", "{data.images}", "{data.labels}", "{data.classes}", "{out}"], folder: FOLDER, supervision: [image]}
      - command: {as: odd, makes: MAKES, run: [python, odd.py, "{first}", "{data.images}", "{out}", "{work}"], folder: FOLDER, supervision: [image], ABOUT}
"""
)
MAPS = """
import csv, sys
import numpy as np
from PIL import Image
root, images, labels, classes, out = sys.argv[1:]
names = open(classes).read().split()
found = {row["image"]: row["labels"].split(";") for row in csv.DictReader(open(labels))}
for id in open(images).read().split():
    width, height = Image.open(f"{root}/JPEGImages/{id}.jpg").size
    maps = np.full((len(found[id]), height, width), 0.5, np.float32)
    np.savez(f"{out}/{id}.npz", keys=[names.index(one) for one in found[id]], high_res=maps)
"""
HEAD = """
import os, shutil, sys, time
import numpy as np
given, images, out, work = sys.argv[1:]
ids = open(images).read().split()
def pass_on():
    for id in ids: shutil.copy(f"{given}/{id}.npy", f"{out}/{id}.npy")
"""
PROGRESS = "progress: {pattern: 'epoch (?P<step>\\S+) loss (?P<loss>\\S+)', steps: 3}"


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> DataView:
    folder = tmp_path_factory.mktemp("view")
    text = STUDY.replace("FOLDER", str(folder)).replace("MAKES", "cams").replace("ABOUT", "timeout: 1m")
    return open_data(load_study_text(text, source="s.yaml", base=folder).data, storage=folder)


def chain_of(view: DataView, folder: Path, body: str, *, makes: str = "cams", about: str = PROGRESS) -> Chain:
    folder.mkdir(exist_ok=True)
    (folder / "maps.py").write_text(MAPS)
    (folder / "odd.py").write_text(HEAD + textwrap.dedent(body))
    text = STUDY.replace("FOLDER", str(folder)).replace("MAKES", makes).replace("ABOUT", about)
    study = load_study_text(text, source="s.yaml", base=folder)
    return sweep_trials(study, study.sweeps[0], [], view)[0].chain.upto("odd")


def run(chain: Chain, store: Store, view: DataView) -> list[Any]:
    return list(run_chain("t", chain, store, view, device="cpu", threads=1, checkpoint_seconds=0))


@pytest.mark.parametrize(
    "line",
    [
        "epoch nan loss 0.5",
        "epoch 1 loss nan",
        "epoch 1 loss inf",
        "epoch -5 loss 1e999",
        "epoch 1e99 loss -0",
    ],
)
def test_any_number_may_stand_in_a_line_of_progress(view: DataView, tmp_path: Path, line: str) -> None:
    body = f"""
    print("{line}", flush=True)
    print("and more", flush=True)
    pass_on()
    """
    store, chain = Store(tmp_path / "store"), chain_of(view, tmp_path / "code", body)
    run(chain, store, view)
    log = (store.folder(chain["odd"].key) / "program.log").read_text()
    assert log.splitlines() == [line, "and more"]


@pytest.mark.parametrize(
    ("body", "makes", "said"),
    [
        ("for id in ids[1:]: shutil.copy(f'{given}/{id}.npy', out)", "cams", "file is missing"),
        ("for id in ids: shutil.copy(f'{given}/{id}.npy', f'{out}/cam_{id}.npy')", "cams", "8 files with other names, such as cam_sample_000001.npy"),
        ("for id in ids: np.savez(f'{out}/{id}.npz', **{name: one * (1 if name == 'keys' else np.nan) for name, one in np.load(f'{given}/{id}.npy', allow_pickle=True).item().items()})", "cams", "finite"),
        ("for id in ids: np.savez(f'{out}/{id}.npz', keys=range(5), high_res=np.zeros((5, 70, 9), np.float32))", "cams", "but must be"),
        ("for id in ids: open(f'{out}/{id}.npy', 'wb')", "cams", "can't be read"),
        ("for id in ids: open(f'{out}/{id}.png', 'wb')", "pseudo_masks", "can't be"),
        ("print(input())", "cams", "ended with code 1"),
        ("for id in ids: os.mkfifo(f'{out}/{id}.npy')", "cams", "{out}"),
        ("for id in ids: os.symlink('/etc/passwd', f'{out}/{id}.npy')", "cams", "{out}"),
    ],
    ids=["some", "names", "nan", "shape", "empty arrays", "empty masks", "stdin", "pipes", "links"],
)  # fmt: skip
def test_what_is_no_result_is_one_clear_error(
    view: DataView, tmp_path: Path, body: str, makes: str, said: str
) -> None:
    store, chain = Store(tmp_path / "store"), chain_of(view, tmp_path / "code", body, makes=makes)
    with pytest.raises(StageError) as error:
        run(chain, store, view)
    assert said.replace("{out}", "out") in str(error.value)
    assert "Traceback" not in str(error.value) or "EOFError" in str(error.value)


def test_lines_of_progress_without_end_are_no_memory(
    view: DataView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wsss.stages.programs import process

    monkeypatch.setattr(process, "MOST_STEPS", 50)
    body = """
    for step in range(5000): print(f"epoch {step} loss 1")
    sys.stdout.flush()
    pass_on()
    """
    chain = chain_of(view, tmp_path / "code", body, about="progress: {pattern: epoch, steps: 3}")
    seen: list[int] = []
    original = process.Program.wait

    def wait(self: process.Program, seconds: float, step: int) -> bool:
        over = original(self, seconds, step)
        seen.append(len(self.steps))
        return over

    monkeypatch.setattr(process.Program, "wait", wait)
    run(chain, Store(tmp_path / "store"), view)
    assert max(seen) <= 51


def test_started_again_it_gets_its_inputs_and_its_code_as_they_were(view: DataView, tmp_path: Path) -> None:
    """The first start spoils what it was given, and its own code, before it is stopped."""
    body = """
    assert np.load(f"{given}/{ids[0]}.npy", allow_pickle=True).item()["high_res"].max() == 0.5
    pass_on()
    mark = f"{work}/started"
    if not os.path.exists(mark):
        open(mark, "w").close()
        shutil.rmtree(given)
        open("odd.py", "w").write("raise SystemExit(7)")
        print("epoch 1 loss 1", flush=True)
        time.sleep(60)
    """
    store, chain = Store(tmp_path / "store"), chain_of(view, tmp_path / "code", body)
    events = run_chain("t", chain, store, view, device="cpu", threads=1, checkpoint_seconds=0)
    next(event for event in events if isinstance(event, TrialProgress) and event.stage == "odd")
    events.close()  # type: ignore[attr-defined]
    run(chain, store, view)
    assert store.known(chain["odd"].key) is not None


def test_a_file_that_all_trials_share_and_one_changed_is_told(
    view: DataView, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Weights that git ignores are links in every trial's copy: who writes to one changes the others'."""
    code = tmp_path / "code"
    code.mkdir()
    subprocess.run(["git", "init", "-q", code], check=True)
    (code / ".gitignore").write_text("*.pth\n")
    for name in ("best.pth", "initial.pth"):
        (code / name).write_text("mine")
    body = """
    open("initial.pth").read()
    open("best.pth", "w").write("theirs")
    pass_on()
    """
    store, chain = Store(tmp_path / "store"), chain_of(view, code, body)
    run(chain, store, view)
    artefact = store.known(chain["odd"].key)
    assert artefact is not None and artefact.record["summary"]["changed"] == ["best.pth"]
    assert "best.pth changed while the program ran" in caplog.text
    (trial,) = [SimpleNamespace(keys={"odd": artefact.key})]
    assert made_elsewhere([trial], store) == ("odd (CHANGED best.pth, which all its trials share)",)  # type: ignore[list-item]


@pytest.mark.parametrize(
    "leaves", ["os.fork() or time.sleep(60)", "os.fork() or (os.setsid(), time.sleep(60))"]
)
def test_children_that_stay_behind_a_good_end_are_ended(view: DataView, tmp_path: Path, leaves: str) -> None:
    body = f"""
    pass_on()
    if (child := {leaves.split(" or ")[0]}) == 0:
        open(f"{{work}}/../../pid", "w").write(str(os.getpid()))
        {leaves.split(" or ")[1]}
    time.sleep(0.3)
    """
    store, chain = Store(tmp_path / "store"), chain_of(view, tmp_path / "code", body)
    began = time.monotonic()
    run(chain, store, view)
    assert time.monotonic() - began < 30
