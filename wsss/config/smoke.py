"""`--smoke`: any study made so small that it shows within a minute whether it would run."""

from __future__ import annotations

from typing import Any

from wsss.config.data_set import DATA_SETS
from wsss.config.naming import LONGEST_NAME
from wsss.config.resolve import variables_in
from wsss.config.stage import STAGES
from wsss.config.study import Arm, StageUse, Study, Sweep
from wsss.errors import ConfigError, Problem, quoted

SUFFIX = "-smoke"
IMAGES = 16


def smoke(study: Study) -> Study:
    """Return the study with every arm kept, one trial each, one epoch, sixteen images a list, the
    smallest backbone; resources and everything else stay, so that the real target is what is tried.

    It gets a name of its own, so that nothing of it is mistaken for a result; a base is looked for under
    the name that it got so itself. Raises `ConfigError` when the name is too long for that.
    """
    data: dict[str, Any] = {"limit": IMAGES, "holdout": min(study.data.holdout, 0.2)}
    data |= DATA_SETS[study.data.dataset].small(study.data)
    if len(study.name.encode()) > LONGEST_NAME - len(SUFFIX):
        message = f"the name {quoted(study.name)} is too long to add {SUFFIX!r} to"
        raise ConfigError(Problem("--smoke", message, "give a shorter one: --name NAME"))
    return study.model_copy(
        update={
            "name": f"{study.name}{SUFFIX}",
            "base": study.base and study.base.model_copy(update={"study": f"{study.base.study}{SUFFIX}"}),
            "data": study.data.model_copy(update=data),
            "sweeps": tuple(_sweep(sweep) for sweep in study.sweeps),
        }
    )


def _sweep(sweep: Sweep) -> Sweep:
    scheduler = sweep.scheduler
    if scheduler.begins in type(scheduler).model_fields:
        scheduler = scheduler.model_copy(update={scheduler.begins: 1})
    # After one epoch no score is good enough for any rule.
    update = {"keep": 1, "seeds": sweep.seeds[:1], "scheduler": scheduler, "stop_below": ()}
    return sweep.map_arms(_arm).model_copy(update=update)


def _arm(arm: Arm) -> Arm:
    stages = tuple(_use(use) for use in arm.stages)
    used = {name for use in stages for name in variables_in(use.params)}
    search = {name: values for name, values in arm.search.items() if name in used}
    samples = 1 if search else None
    own = {"samples": samples, "keep": None, "stages": stages, "search": search, "stop_below": None}
    return arm.model_copy(update=own)


def _use(use: StageUse) -> StageUse:
    return use.model_copy(update={"params": STAGES[use.stage].small(use.params)})
