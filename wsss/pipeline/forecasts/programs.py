"""Preflight of foreign programs: their folders and environments, on this machine or on all of a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wsss.config import Study
from wsss.config.stage import STAGES
from wsss.pipeline.check import Check
from wsss.stages.programs.readiness import Found, Needs, look, needs

HINT = "a `command` needs its folder and its environment on every machine that runs trials"


def programs_needed(study: Study) -> dict[str, Needs]:
    """Return what each foreign program of a study needs, by the place where the study names it.

    Programs that need the same are in one entry.
    """
    places: dict[Needs, str] = {}
    for sweep, arm, use in study.uses():
        if STAGES[use.stage].program(use.params):
            place = sweep.name if arm.name == sweep.name else f"{sweep.name}, arm {arm.name}"
            places.setdefault(needs(use.params), f"{place}, {use.name}")
    return {place: need for need, place in places.items()}


def local_programs(study: Study, *, start: bool) -> list[Check]:
    """Look for the programs of a study on this machine.

    Args:
        study: the study.
        start: whether interpreters are started, which the user must have allowed.
    """
    wanted = programs_needed(study)
    return program_checks(wanted, {"": [look(one, start=start) for one in wanted.values()]})


def program_checks(
    wanted: Mapping[str, Needs], machines: Mapping[str, Sequence[Found]], own: Sequence[Found] = ()
) -> list[Check]:
    """Return a row for each program that is well, and one for each machine where it isn't.

    Args:
        wanted: the programs, as `programs_needed` returns it.
        machines: machine → what it has, in the order of `wanted`. This one's name is empty.
        own: what the driver has, whose code every machine must have; empty if it is no other machine.
    """
    checks = []
    for number, (place, need) in enumerate(wanted.items()):
        bad = []
        for label, answers in machines.items():
            found = answers[number]
            at = f"{place}: on {label}, " if label else f"{place}: "
            if found.wrong:
                bad.append(Check("program", "bad", at + found.wrong, HINT))
            elif own and found.digest != own[number].digest:
                differs = f"{need.folder} has {found.code}, the driver's {own[number].code}"
                bad.append(Check("program", "bad", at + differs, HINT))
        checks += bad or [_well(place, need, [answers[number] for answers in machines.values()])]
    return checks


def _well(place: str, need: Needs, found: Sequence[Found]) -> Check:
    code = f"{need.folder} with {found[0].code}" if need.folder and found else "a searched folder"
    versions = sorted({one.python for one in found} - {""})
    python = f", Python {' and '.join(versions)}" if versions else ""
    return Check("program", "ok", f"{place}: {code}{python}{' everywhere' if len(found) > 1 else ''}")
