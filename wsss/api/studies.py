"""Whole studies from a notebook: run one, and compare what was run as a data frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from wsss.config.text.yaml_text import dump_yaml
from wsss.errors import PreflightError, Problem
from wsss.launch.finding import find, find_all
from wsss.launch.lines import Lines
from wsss.report.compare import compare as compare_studies
from wsss.report.frame import frame_rows

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Ran:
    """How a study ended.

    `trials` counts them; `failed` and `stopped` name those that failed or were stopped early. `computed` and
    `reused` count artefacts that were made, and those that the storage had. `budget` says which limit was
    reached, empty when none was. `scores` has a row for each arm, as of `wsss.compare`.
    """

    study: str
    trials: int
    failed: tuple[str, ...]
    stopped: tuple[str, ...]
    computed: int
    reused: int
    interrupted: bool
    budget: str
    scores: DataFrame


def run(
    study: str | Path,
    *,
    changes: Mapping[str, Any] | None = None,
    storage: str | Path | None = None,
    name: str | None = None,
    smoke: bool = False,
    local: bool = False,
    address: str | None = None,
    allow_commands: bool = False,
    quiet: bool = False,
) -> Ran:
    """Run a study, or go on with it; what exists already is not computed again.

    Interrupting the kernel stops it: nothing finished is lost, and the next call goes on.

    Args:
        study: a study file, or the name of a study in the storage.
        changes: values by key, as in `{"sweeps.cam.*.classifier.epochs": 1}`.
        storage: the folder or address for all that studies leave; `runs` when None.
        name: another name to run it under.
        smoke: whether to try it out: one short trial an arm, sixteen images.
        local: whether trials run in this process, one after another, without Ray.
        address: of a Ray cluster to join; this machine when None.
        allow_commands: whether the study may start the programs that its `command` stages name.
        quiet: whether no progress is printed.

    Raises `ConfigError`, `DataError`, `PreflightError` or `StorageError`, with everything that is wrong, and
    `PreflightError` when the study is being run by somebody else.

    Examples:
        ```python
        ran = wsss.run("tiny.yaml", storage="runs", local=True)
        print(ran.computed, ran.reused, ran.failed)
        print(ran.scores[["arm", "cam", "cam_low", "cam_high"]])
        ```
    """
    from wsss.launch.execution import Taken, carry_out
    from wsss.launch.permission import check_permission

    overrides = [f"{key}={_as_text(value)}" for key, value in (changes or {}).items()]
    found = find(str(study), overrides, None if storage is None else str(storage), name, smoke)
    check_permission(found, allow_commands)
    view = Lines(Console(quiet=quiet))
    ended = carry_out(found, view, local=local, address=address, quiet=quiet)
    if isinstance(ended, Taken):
        raise PreflightError(Problem(found.name, f"is run by {ended.holder or 'somebody else'}"))
    outcome = ended.outcome
    return Ran(
        found.name,
        outcome.trials,
        tuple(outcome.failed),
        tuple(outcome.stopped),
        outcome.computed,
        outcome.reused,
        outcome.interrupted,
        outcome.budget,
        compare([found.name], storage=found.storage),
    )


def compare(
    studies: str | Path | Sequence[str | Path] = (),
    *,
    storage: str | Path | None = None,
    baseline: str | None = None,
) -> DataFrame:
    """Return a data frame of methods side by side: one row an arm, scores as shares in [0, 1].

    Columns of a step, `cam` for instance, are its mIoU on the images that are reported, `cam_low` and
    `cam_high` its 95 % interval, and `cam_delta` the paired difference to the baseline.

    Args:
        studies: names or files; all of the storage when empty.
        storage: its folder or address; `runs` when None.
        baseline: the arm that differences refer to; the first, or the one called so, when None.

    Raises `ConfigError`, naming the nearest, for unknown studies and arms.

    Examples:
        ```python
        table = wsss.compare("tiny", storage="runs", baseline="baseline")
        print(table.set_index("arm")[["cam", "cam_delta", "tried"]])
        ```
    """
    import pandas

    names = [studies] if isinstance(studies, str | Path) else list(studies)
    location, found = find_all([str(one) for one in names], None if storage is None else str(storage))
    return pandas.DataFrame(frame_rows(compare_studies(location, found, baseline)))


def _as_text(value: Any) -> str:
    """Return a value as it stands behind `-s KEY=`."""
    return value if isinstance(value, str) else dump_yaml(value).removesuffix("...\n").strip()
