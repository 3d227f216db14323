"""Checking the words of foreign programs, which name earlier stages, and listing the programs of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wsss.config.checks.checker import Checker
from wsss.config.checks.places import arm_uses
from wsss.config.resolve import kinds_made
from wsss.config.stage import STAGES
from wsss.config.study import Study, Sweep


@dataclass(frozen=True)
class StudyProgram:
    """A foreign program that a study starts: where, its words as written, its folder."""

    sweep: str
    arm: str
    stage: str
    words: tuple[str, ...]
    folder: str
    python: str

    def __str__(self) -> str:
        arm = self.sweep if self.arm == self.sweep else f"{self.sweep}, arm {self.arm}"
        python = f" with {self.python}" if self.python else ""
        return f"{arm}, {self.stage}: {' '.join(self.words)}   [in {self.folder}{python}]"


def study_programs(study: Study) -> list[StudyProgram]:
    """Return every foreign program that a study's own stages start, in the order of the file."""
    found = []
    for sweep, arm, use in study.uses():
        if words := STAGES[use.stage].program(use.params):
            given = use.params.get("environment")
            python = " ".join(map(str, given.values())) if isinstance(given, Mapping) else ""
            folder = str(use.params.get("folder", ""))
            found.append(StudyProgram(sweep.name, arm.name, use.name, words, folder, python))
    return found


def check_programs(checker: Checker, sweeps: Sequence[Sweep], *, based: bool) -> None:
    """Refuse programs without words, and placeholders that are unknown and name no earlier stage.

    `based`: the study has a base, whose artefacts are unknown until it is opened: any name may be one.
    """
    before: dict[str, set[str]] = {}
    for number, sweep in enumerate(sweeps):
        made: dict[str, set[str]] = {}
        for arm in sweep.arms:
            known = {name: set(kinds) for name, kinds in before.items()}
            for at, use in arm_uses(number, sweep, arm):
                kind = STAGES[use.stage]
                if "run" in kind.model().model_fields and use.params.get("run") in (None, []):
                    checker.add(at, "`run` is missing: the words of a program, such as [python, train.py]")
                for mention in kind.mentions(use.params):
                    good = set(mention.kinds or kind.given)
                    given = known.get(mention.name)
                    if given is not None and given & good:
                        continue
                    if given is None and based:
                        continue
                    path = (*at, *mention.path)
                    if given is not None:
                        one_of = " or ".join(sorted(good))
                        message = f"{{{mention.text}}} is what `{mention.name}` makes, but must be {one_of}"
                        checker.add(path, message)
                        continue
                    names = [name for name, own in known.items() if own & set(kind.given)]
                    message = f"`run` holds {{{mention.text}}}, which is neither a value nor an earlier stage"
                    hint = checker.nearest(mention.text, [*mention.others, *names])
                    checker.add(path, message, f"{hint}; a brace is written twice, {{{{" if hint else "")
                makes = kinds_made(use)
                for names_of in (known, made):
                    names_of[use.name] = set(makes)
                    for one in makes:
                        names_of.setdefault(one, set()).add(one)
        for one, kinds_of in made.items():
            before.setdefault(one, set()).update(kinds_of)
