"""The models of a study file: what is wrong is left out so that the rest is checked, at its own lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from wsss.config import Arm, Budget, StageUse, Study, Sweep, load_study_text
from wsss.config.schema import study_schema
from wsss.config.text.yaml_text import parse_yaml
from wsss.errors import ConfigError

WRONG = """\
name: wrong
data: {dataset: sample, holdout: 2}
sweeps:
  - 3
  - name: cam
    keep: none
    searcher: {kind: optuna, starup: 3}
    arms:
      one:
        samples: 0
        stages:
          - clasifier
          - classifier: {epoch: 1}
          - cams: [1]
          - cams: {as: a b, from: [1]}
          - cams
          - pseudo_masks: {from: cam}
      two: {stages: [classifier, cams], control: on}
  - {name: again, replicate: can, arms: {x: {stages: [cams]}}}
"""


def test_all_that_is_wrong_is_said_at_its_line_whatever_else_is_wrong() -> None:
    with pytest.raises(ConfigError) as caught:
        load_study_text(WRONG, source="s.yaml", base=Path("/base"))
    assert sorted(map(str, caught.value.problems), key=lambda text: int(text.split(":")[1])) == [
        "s.yaml:2: `holdout` is 2, but must be less than or equal to 0.5",
        "s.yaml:4: a sweep must be a mapping of keys, but is 3",
        "s.yaml:6: `keep` is 'none', but must be a whole number from 1 to 10000",
        "s.yaml:7: unknown key `starup` (did you mean 'startup'?)",
        "s.yaml:10: `samples` is 0, but must be a whole number from 1 to 10000",
        "s.yaml:12: there is no stage 'clasifier' (did you mean 'classifier'?)",
        "s.yaml:13: unknown key `epoch` (did you mean 'epochs'?)",
        "s.yaml:14: the parameters of `cams` must be a mapping, but are [1]",
        "s.yaml:15: the name of a stage is 'a b', but must be letters, digits, '_', '.' or '-', the first a letter or "
        "digit, at most 120 bytes",
        "s.yaml:15: `from` is [1], but must be the name of an earlier stage",
        "s.yaml:17: `from` is 'cam', but no earlier stage is named so (did you mean 'cams'?)",
        "s.yaml:18: the control of arm `two` is 'on' (did you mean 'one'?)",
        "s.yaml:19: no earlier sweep is named 'can' (did you mean 'cam'?)",
        "s.yaml:19: a replicating sweep needs `seeds`",
        "s.yaml:19: `arms` has no meaning in a sweep that replicates another",
    ]


def test_nothing_follows_from_what_is_left_out() -> None:
    text = "name: x\ndata: {dataset: sample, select: {split: val, half: c}}\nsweeps:\n"
    text += "  - {name: a, stages: [cms]}\n  - {name: a b, replicate: [1], seeds: [1.5]}\n"
    with pytest.raises(ConfigError) as caught:
        load_study_text(text, source="s.yaml", base=Path("/base"))
    assert len(caught.value.problems) == 5, str(caught.value)


def test_they_do_not_change_and_know_their_keys() -> None:
    use = StageUse(stage="cams", name="cams")
    sweep = Sweep(name="a", alternatives={"one": Arm(stages=(use,))})
    assert [arm.name for arm in sweep.arms] == ["one"]
    assert [arm.name for arm in Sweep(name="a", stages=(use,)).arms] == ["a"]
    for model in (use, sweep, sweep.arms[0]):
        with pytest.raises(ValidationError, match="frozen"):
            model.name = "b"  # type: ignore[misc]
    for known in (Study, Sweep, Arm, StageUse, Budget):
        with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
            known.model_validate({"unknown": 1})


@pytest.mark.parametrize("key", ["tracking", "budget", "base", "storage"])
def test_null_is_the_default_for_editors_too(key: str) -> None:
    text = f"{key}: null\ndata: {{dataset: sample}}\nsweeps: [{{name: a, stages: [classifier, cams]}}]\n"
    assert Draft202012Validator(study_schema()).is_valid(parse_yaml(text, "s").value)
    assert load_study_text(text, source="s.yaml", base=Path("/base")).name == "s"
