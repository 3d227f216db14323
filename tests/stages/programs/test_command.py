"""Programs of others as stages: what they are given, how they end, and that none outlives who runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_data import tiny_data
from toy_program import RUN, TOY

from wsss.config import load_study_text
from wsss.data.view import DataView, open_data
from wsss.errors import StageError
from wsss.pipeline.chains.chain import Chain
from wsss.pipeline.chains.execute import run_chain
from wsss.pipeline.events import StageFinished, StageSaid, TrialProgress
from wsss.pipeline.search.trials import sweep_trials
from wsss.stages.programs import process
from wsss.stages.programs.log import HEAD, Log, joined
from wsss.store.artefact import LOG
from wsss.store.folder_store import Store

STUDY = (
    f"name: foreign\n{tiny_data(8, 4)}"
    + """\
sweeps:
  - name: cam
    stages:
      - command: {as: theirs, makes: cams, run: [RUN, MORE], folder: FOLDER, supervision: [image], ABOUT}
      LATER
"""
)
ABOUT = "progress: {pattern: 'epoch (?P<step>.*)/3 loss (?P<loss>.*)', steps: 3}"


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> DataView:
    folder = tmp_path_factory.mktemp("view")
    return open_data(load_study_text(text(), source="s.yaml", base=folder).data, storage=folder)


def text(more: str = "--epochs, 3", *, later: str = "", folder: Path = TOY, about: str = ABOUT) -> str:
    study = STUDY.replace("RUN", RUN).replace("MORE", more).replace("FOLDER", str(folder))
    return study.replace("ABOUT", about).replace("LATER", later)


def chain_of(view: DataView, more: str = "--epochs, 3", **options: Any) -> Chain:
    study = load_study_text(text(more, **options), source="s.yaml", base=Path("/"))
    return sweep_trials(study, study.sweeps[0], [], view)[0].chain


def run(chain: Chain, store: Store, view: DataView) -> list[Any]:
    return list(run_chain("t", chain, store, view, device="cpu", threads=1, checkpoint_seconds=0))


def alive(pids: list[int]) -> list[int]:
    """Return those processes that live; a zombie, which has ended and waits to be reaped, doesn't."""
    found = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        found += [pid] if state != "Z" else []
    return found


def wait_for(condition: Callable[[], Any], seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def pids_in(note: Path) -> list[int]:
    return [int(line) for line in note.read_text().split()] if note.exists() else []


def test_its_maps_are_scored_and_it_is_found_again(view: DataView, tmp_path: Path) -> None:
    store, chain = Store(tmp_path / "store"), chain_of(view)
    events = run(chain, store, view)
    steps = [e.metrics for e in events if isinstance(e, TrialProgress) and e.stage == "theirs"]
    assert steps == [{"loss": 1.0}, {"loss": 0.5}, {"loss": 0.333}, {"images": 8.0}]
    artefact = store.get(chain["theirs"].key, thorough=True)
    assert artefact is not None
    assert "epoch 3/3" in (artefact.folder / LOG).read_text()
    summary = artefact.record["summary"]
    assert "numpy" in summary["environment"]["packages"] and summary["folder"]["files"] == 2
    assert store.get(chain["theirs.scores"].key) is not None
    again = run(chain, store, view)
    assert all(event.cached for event in again if isinstance(event, StageFinished))


@pytest.mark.parametrize(
    ("more", "about", "said"),
    [
        ("--mode, fail", ABOUT, ("ended with code 3", "CUDA out of memory, says")),
        ("--mode, crash", ABOUT, ("was ended by SIGSEGV", "it wrote nothing")),
        ("--mode, nothing", ABOUT, ("wrote nothing to {out}",)),
        ("--mode, wrong", ABOUT, ("result can't be used", "but must be float[", "epoch 3/3")),
        ("--mode, hang, --note, NOTE", "timeout: 5s", ("longer than `timeout`, 5 s", "now I hang")),
        ("--unknown", ABOUT, ("ended with code 2", "unrecognized arguments")),
    ],
    ids=["fails", "crashes", "nothing", "wrong", "too long", "arguments"],
)
def test_an_end_that_is_not_well_is_one_error_with_its_last_lines(
    view: DataView, tmp_path: Path, more: str, about: str, said: tuple[str, ...]
) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(StageError) as error:
        run(chain_of(view, more.replace("NOTE", str(tmp_path / "note")), about=about), store, view)
    assert all(part in str(error.value) for part in said), str(error.value)
    assert "Traceback" not in str(error.value).partition("usage:")[0]
    assert not alive(pids_in(tmp_path / "note"))


@pytest.mark.parametrize("into", ["nothing", "file", "link"])
def test_a_program_that_replaces_its_output_folder_is_told_so_each_time(
    view: DataView, tmp_path: Path, into: str
) -> None:
    store, chain = Store(tmp_path / "store"), chain_of(view, f"--mode, replaced, --note, {into}")
    for _ in range(2):  # what the first start left doesn't hinder the second
        with pytest.raises(StageError, match="no longer the folder that it was given"):
            run(chain, store, view)


def test_a_huge_log_is_kept_in_part(view: DataView, tmp_path: Path) -> None:
    store, chain = Store(tmp_path / "store"), chain_of(view, "--mode, huge").upto("theirs")
    run(chain, store, view)
    log = (store.folder(chain["theirs"].key) / LOG).read_bytes()
    assert len(log) < 1.2 * 2**20
    assert log.startswith(b"xxx") and b"left out" in log and b"epoch 3/3" in log[-200:]


def test_logs_of_any_length_are_whole_until_they_are_too_long(tmp_path: Path) -> None:
    whole = bytes(range(256)) * (HEAD // 128)
    for length in (0, 1, HEAD - 1, HEAD, HEAD + 1, 2 * HEAD):
        log = Log(tmp_path / "a.log")
        for start in range(0, length, 70_001):
            log.write(whole[start : min(start + 70_001, length)])
        log.close()
        assert joined(log.path) == whole[:length]


def test_what_it_left_in_work_is_there_when_it_goes_on(view: DataView, tmp_path: Path) -> None:
    store, note = Store(tmp_path / "store"), tmp_path / "note"
    chain = chain_of(view, f"--pause, 0.4, --note, {note}").upto("theirs")
    for _ in range(2):
        events = run_chain("t", chain, store, view, device="cpu", threads=1, checkpoint_seconds=0)
        next(event for event in events if isinstance(event, TrialProgress) and not event.replayed)
        events.close()  # type: ignore[attr-defined]
        assert not alive(pids_in(note)), "it ended with the trial"
    rest = run(chain, store, view)
    steps = [event.step for event in rest if isinstance(event, TrialProgress) and not event.replayed]
    assert steps[0] == 3
    log = (store.folder(chain["theirs"].key) / LOG).read_text()
    assert "epoch 1/3" not in log, "it went on from where it was"
    assert len(pids_in(note)) == 3


@pytest.mark.parametrize("mode", ["hang", "stubborn"])
def test_cancelled_it_ends_with_all_that_it_started(
    view: DataView, tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        process.Program.__init__, "__kwdefaults__", {**process.Program.__init__.__kwdefaults__, "grace": 1.0}
    )
    store, note = Store(tmp_path / "store"), tmp_path / "note"
    chain = chain_of(view, f"--mode, {mode}, --note, {note}")
    events = run_chain("t", chain, store, view, device="cpu", threads=1)
    said = next(event for event in events if isinstance(event, StageSaid) and event.text)
    assert said.text == "now I hang"
    assert len(alive(pids_in(note))) == 3
    events.close()  # type: ignore[attr-defined]
    assert not alive(pids_in(note))


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.fault)])
def test_it_never_outlives_its_runner(tmp_path: Path, number: int) -> None:
    note = tmp_path / "note"
    (tmp_path / "study.yaml").write_text(text(f"--mode, hang, --note, {note}"))
    words = ["-m", "wsss", "run", "study.yaml", "--local", "--allow-commands", "--storage", "runs"]
    runner = subprocess.Popen(
        [sys.executable, *words], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        assert wait_for(lambda: len(pids_in(note)) == 3, 240)
        pids = pids_in(note)
        assert len(alive(pids)) == 3
        runner.send_signal(number)
        assert wait_for(lambda: not alive(pids), 40), alive(pids)
        runner.wait(180)
    finally:
        runner.kill()
        runner.wait()


def test_it_gets_no_secrets_and_nothing_of_ours(
    view: DataView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/show.py").write_text(
        "import json, os, pathlib, sys\npathlib.Path(sys.argv[1], 'e.json').write_text(json.dumps(dict(os.environ)))"
    )
    for name in (
        "AWS_SECRET_ACCESS_KEY",
        "MLFLOW_TRACKING_PASSWORD",
        "HF_TOKEN",
        "PYTHONPATH",
        "WANDB_API_KEY",
    ):
        monkeypatch.setenv(name, "of-mine-alone")
    monkeypatch.setenv("LC_TIME", "C")
    study = text(folder=tmp_path / "code").replace(
        f"makes: cams, run: [{RUN}, --epochs, 3]", 'makes: files, run: [python, show.py, "{out}"]'
    )
    store = Store(tmp_path / "store")
    loaded = load_study_text(study, source="s.yaml", base=tmp_path)
    chain = sweep_trials(loaded, loaded.sweeps[0], [], view)[0].chain
    run(chain, store, view)
    got = json.loads((store.folder(chain["theirs"].key) / "files/e.json").read_text())
    assert "of-mine-alone" not in got.values()
    assert got["CUDA_VISIBLE_DEVICES"] == "" and got["OMP_NUM_THREADS"] == "1" and got["LC_TIME"] == "C"


def test_its_code_is_part_of_the_key(view: DataView, tmp_path: Path) -> None:
    git = ["git", "-c", "user.email=a@b.c", "-c", "user.name=x"]
    code = tmp_path / "code"
    code.mkdir()
    (code / "make_maps.py").write_bytes((TOY / "make_maps.py").read_bytes())
    (code / ".gitignore").write_text("weights/\n")
    (code / "weights").mkdir()
    (code / "weights/w.bin").write_bytes(b"1")
    subprocess.run([*git, "init", "-q"], cwd=code, check=True)

    def key() -> str:
        return chain_of(view, folder=code)["theirs"].key

    first = key()
    subprocess.run([*git, "add", "-A"], cwd=code, check=True)
    subprocess.run([*git, "commit", "-qm", "x"], cwd=code, check=True)
    assert key() == first, "the same content, committed"
    (code / "weights/w.bin").write_bytes(b"2")
    assert key() == first, "what git ignores doesn't count"
    (code / "new.py").write_text("x = 1\n")
    assert key() != first, "an untracked file counts"
    (code / "new.py").unlink()
    os.rename(code, tmp_path / "moved")
    assert chain_of(view, folder=tmp_path / "moved")["theirs"].key == first, "not where it lies"
    code = tmp_path / "moved"
    with (code / "make_maps.py").open("a") as file:
        file.write("\n# changed\n")
    assert key() != first


def test_nothing_in_a_repository_is_run_to_read_it(view: DataView, tmp_path: Path) -> None:
    code, trap = tmp_path / "code", tmp_path / "trap"
    code.mkdir()
    (code / "a.py").write_text("x\n")
    (code / ".gitattributes").write_text("*.py filter=trap\n")
    subprocess.run(["git", "init", "-q"], cwd=code, check=True)
    script = tmp_path / "trap.sh"
    script.write_text(f"#!/bin/sh\ntouch {trap}\ncat\n")
    script.chmod(0o755)
    for name in ("core.fsmonitor", "filter.trap.clean", "filter.trap.smudge", "core.sshCommand"):
        subprocess.run(["git", "config", name, str(script)], cwd=code, check=True)
    chain_of(view, folder=code)
    assert not trap.exists()


def test_a_folder_that_changed_before_it_started_is_refused(view: DataView, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "make_maps.py").write_bytes((TOY / "make_maps.py").read_bytes())
    chain = chain_of(view, folder=code)
    (code / "make_maps.py").write_text("print('another')\n")
    with pytest.raises(StageError, match="has changed since this run read it"):
        run(chain, Store(tmp_path / "store"), view)


def test_the_program_cant_change_its_folder_nor_what_it_is_given(view: DataView, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "write.sh").write_text(
        'for f in "$1"/*; do echo x > "$f"; done\necho new > made-here\ntouch "$2/a"\n'
    )
    later = f'- command: {{as: bad, makes: files, run: [sh, write.sh, "{{theirs}}", "{{out}}"], folder: {code}, supervision: [image]}}'
    store, chain = Store(tmp_path / "store"), chain_of(view, later=later)
    run(chain, store, view)
    assert store.get(chain["theirs"].key, thorough=True) is not None
    assert [path.name for path in code.iterdir()] == ["write.sh"]


def test_searched_values_are_words(view: DataView, tmp_path: Path) -> None:
    study = text("--alpha, $alpha").replace("stages:", "search: {alpha: {choice: [0.5, 1]}}\n    stages:", 1)
    loaded = load_study_text(study, source="s.yaml", base=tmp_path)
    chains = [trial.chain for trial in sweep_trials(loaded, loaded.sweeps[0], [], view)]
    assert len({chain["theirs"].key for chain in chains}) == 2
    assert [chain["theirs"].params.words[-1] for chain in chains] == ["0.5", "1"]  # type: ignore[attr-defined]


def test_arrays_may_have_names_of_their_own(view: DataView, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    names = "--map-name, attention, --id-name, present"
    about = f"{ABOUT}, reads: {{maps: attention, ids: present}}"
    chain, plain = chain_of(view, names, about=about), chain_of(view)
    run(chain.upto("theirs"), store, view)
    run(plain.upto("theirs"), store, view)
    one, other = (store.get(each["theirs"].key) for each in (chain, plain))
    assert one is not None and other is not None and one.digest == other.digest


def test_cams_are_given_without_pickles_on_request(view: DataView, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "copy.sh").write_text('cp "$1"/* "$2"\n')
    later = f'- command: {{as: copied, makes: cams, run: [sh, copy.sh, "{{theirs.npz}}", "{{out}}"], folder: {code}, supervision: [image]}}'
    store, chain = Store(tmp_path / "store"), chain_of(view, later=later)
    run(chain, store, view)
    one, other = (store.get(chain[name].key) for name in ("theirs", "copied"))
    assert one is not None and other is not None
    assert np.array_equal(one.record["files"]["index.json"], other.record["files"]["index.json"])
    assert one.digest == other.digest
