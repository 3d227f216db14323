"""Stage `command`: runs a program of other people in a copy of its folder, and reads its result.

Its files lie in `.here` of the stage's working folder: `source` (the copy), `work` (kept when the program is
restarted), `out` (emptied at each start), `given` (its inputs) and its log.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wsss.errors import DataError, Problem, StageError
from wsss.files import read_json, write_atomic, write_json
from wsss.stages.contract import Context, Stage
from wsss.stages.kinds.programs.command import CommandParams, wanted
from wsss.stages.kinds.programs.words import filled, placeholders, stage_named
from wsss.stages.programs import environment, folder, given
from wsss.stages.programs.log import Log, joined
from wsss.stages.programs.process import Program
from wsss.stages.programs.result import Result
from wsss.store.artefact import LOG
from wsss.store.partial import HERE

log = logging.getLogger("wsss")

BEAT_SECONDS = 1.0
"""Seconds between two signs of life of the stage while its program runs."""
MOST_NAMED = 20
COPIED = "copied.json"
"""What the copy of the folder was made of."""
ENDED, TOLD = "ended.json", "told.json"
"""The first is written when the program has succeeded and `out` holds its result; the second keeps the
metrics of its steps."""


class Command(Stage):
    """Its steps are those that the program reports, and one more that reads the result.

    An interrupted program is started again, with `{work}` as it left it; a successful one is not.

    Files: those of the artefact that it makes, and `program.log`.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        assert isinstance(context.params, CommandParams)
        self.params = context.params
        self.here = context.work / HERE
        self.images = wanted(self.params, context.data)
        self.program: Program | None = None
        self.reading: Iterator[int] | None = None
        self.told = self._remembered()
        """The metrics of the steps that the program reported, in this run or before it was stopped."""
        self.done = 0

    @property
    def steps(self) -> int:
        return self.params.steps + 1

    def step(self) -> dict[str, float] | None:
        metrics = self._run() if self.done < self.params.steps else self._read()
        if metrics is not None:
            self.done += 1
        return metrics

    def _run(self) -> dict[str, float] | None:
        """Return the metrics of the program's next step; None while it is at work."""
        known = self.told.get(self.done + 1)
        if (
            known is None
            and not self._ended()
            and (self.program is None or self.program.reached <= self.done)
        ):
            return None
        return self.told.get(self.done + 1, {})

    def _remembered(self) -> dict[int, dict[str, float]]:
        told = read_json(self.here / TOLD) or {}
        return {int(step): values for step, values in told.items()}

    def _remember(self) -> None:
        if self.told:
            steps = sorted(step for step in self.told if step <= self.params.steps)
            write_json(self.here / TOLD, {str(step): self.told[step] for step in steps})

    def _ended(self) -> bool:
        """Start the program, or wait for its next step, at most a moment; return whether it has succeeded."""
        if (self.here / ENDED).exists():
            return True
        if self.program is None:
            self.program = self._start()
            return False
        over = self.program.wait(BEAT_SECONDS, self.done + 1)
        self.said = self.program.said
        self.told |= self.program.steps
        if over:
            self._remember()
            write_json(self.here / ENDED, {"seconds": round(self.program.seconds, 3)})
        return over

    def _read(self) -> dict[str, float] | None:
        """Read the program's result, one chunk a call."""
        if not self._ended():
            return None
        try:
            if self.reading is None:
                self.reading = self._result().read()
            done = next(self.reading, None)
        except DataError as error:
            raise self._wrong(error) from error
        if done is None:
            return {"images": float(len(self.images))}
        self.said = f"{done} of {len(self.images)} images read"
        return None

    def _wrong(self, error: DataError) -> StageError:
        lines = joined(self.here / LOG).decode(errors="replace").splitlines()
        text = "\n".join([line[:200].rstrip() for line in lines if line.strip()][-10:])
        where = " ".join(self.params.words[:4])
        said = f"; its last lines:\n{text}\n" if text else ""
        # The next start deletes its output, as after a failure.
        (self.here / ENDED).unlink(missing_ok=True)
        return StageError([Problem(where, f"its result can't be used{said}"), *error.problems])

    def _result(self) -> Result:
        return Result(self.params, self.context.data, self.images, self.here / "out", self.context.work)

    def _start(self) -> Program:
        """Start the program in a copy of its folder, with its inputs and its working folder."""
        # A program that was stopped may have changed what it was given.
        shutil.rmtree(self.here / "given", ignore_errors=True)
        for name in ("work", "given"):
            (self.here / name).mkdir(parents=True, exist_ok=True)
        out = self.here / "out"
        if out.is_dir() and not out.is_symlink():
            shutil.rmtree(out, ignore_errors=True)
        else:  # the program may have put anything in its place
            out.unlink(missing_ok=True)
        out.mkdir()
        self._copy_source()
        params, context = self.params, self.context
        of = params.environment
        python = environment.interpreter(of.python if of else None, of.conda if of else None)
        variables = environment.variables(
            python, threads=context.threads, device=context.device, workers=context.workers
        )
        if not (self.here / "environment.json").exists():
            write_json(self.here / "environment.json", environment.packages(python, variables))
        values = self._values()
        words = [filled(word, values) for word in params.words]
        if words[0] in environment.PYTHONS:
            words[0] = str(python)
        if context.device != "cpu":
            import torch

            torch.cuda.empty_cache()  # what earlier stages hold is for the program
        return Program(
            words,
            folder=self.here / "source",
            environment=variables,
            log=Log(self.here / LOG),
            pattern=re.compile(params.progress.pattern) if params.progress else None,
            timeout=params.seconds,
        )

    def _copy_source(self) -> None:
        """Copy the folder, unless an earlier start did and the program has changed none of its files since:
        what it has written beside them stays."""
        copied = read_json(self.here / COPIED)
        code = self.params.code
        if copied is not None and folder.is_whole(self.here / "source", copied["files"], code):
            return
        shutil.rmtree(self.here / "source", ignore_errors=True)
        (self.here / "source").mkdir()
        source = folder.copy(self.params.folder, self.here / "source", code)
        write_json(self.here / "source.json", source.facts())
        shared = folder.stamps(self.params.folder, source.ignored)
        write_json(self.here / COPIED, {"files": list(source.files), "shared": shared})

    def _changed(self) -> list[str]:
        """Return the files of the folder, among those that git ignores, which have changed since the program
        started: copies link them, so that all trials write to the same."""
        before = (read_json(self.here / COPIED) or {}).get("shared", {})
        now = folder.stamps(self.params.folder, before)
        changed = sorted(name for name, stamp in before.items() if now.get(name) != stamp)
        if changed:
            log.warning(
                "%s: %s changed while the program ran. Git ignores it, so that all trials share it: let the "
                "program write to {work}, or the file count for git",
                self.params.folder, ", ".join(changed[:5]),
            )  # fmt: skip
        return changed[:MOST_NAMED]

    def _values(self) -> dict[str, str]:
        """Return what placeholders stand for; inputs are written when a word names them."""
        context = self.context
        gpus = environment.visible_gpus(context.device, context.workers)
        found = {
            **given.give_data(context.data, self.images, self.here / "given" / "data"),
            "out": str(self.here / "out"),
            "work": str(self.here / "work"),
            "seed": str(context.seed),
            "threads": str(context.threads),
            "device": "cuda" if gpus else "cpu",
            "gpu": "0" if gpus else "-1",
        }
        for name in {name for word in self.params.words for name in placeholders(word)} - found.keys():
            stage, layout = stage_named(name)
            place = self.here / "given" / "stages" / name
            given.give_artefact(context.inputs[stage], context.data, place, layout)
            found[name] = str(place)
        return found

    def save(self, folder: Path) -> None:
        self._remember()

    def load(self, folder: Path, done: int) -> None:
        self.done = done

    def close(self) -> None:
        if self.program is not None:
            self.program.stop()
            if self.here.is_dir():  # the artefact isn't finished
                self.told |= self.program.steps
                self._remember()

    def finish(self, folder: Path) -> dict[str, Any]:
        while not self._ended():  # its result was read on another machine
            continue
        result = self._result()
        if not (self.here / "out").is_dir() or (self.params.makes != "files" and self.reading is None):
            for _ in result.read():
                continue
        count = result.finish(folder)
        write_atomic(folder / LOG, joined(self.here / LOG))
        ended = read_json(self.here / ENDED) or {}
        return {
            "files" if self.params.makes == "files" else "images": count,
            "folder": read_json(self.here / "source.json"),
            "environment": read_json(self.here / "environment.json"),
            "program_seconds": ended.get("seconds"),
            **({"changed": changed} if (changed := self._changed()) else {}),
        }
