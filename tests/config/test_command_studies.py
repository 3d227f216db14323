"""What a study may say of a foreign program, and what is refused before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from wsss.config import load_study_text, smoke
from wsss.config.checks.programs import study_programs
from wsss.config.resolve import resolve_stage
from wsss.errors import ConfigError

CLASSIFIER = {"classifier": {"backbone": "efficientnet_lite0"}}
COMMAND: dict[str, Any] = {
    "as": "theirs",
    "makes": "cams",
    "run": ["python", "train.py", "--out", "{out}"],
    "folder": "/src/toco",
    "supervision": ["image"],
}


def load(*stages: Any, search: Any = None, data: Any = None) -> Any:
    sweep = {"name": "cam", "stages": list(stages), **({"search": search} if search else {})}
    text = yaml.safe_dump({"data": {"dataset": "sample", **(data or {})}, "sweeps": [sweep]}, sort_keys=False)
    return load_study_text(text, source="s.yaml", base=Path("/studies"))


def command(**changes: Any) -> dict[str, Any]:
    return {"command": {name: value for name, value in {**COMMAND, **changes}.items() if value is not None}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"run": ["a", "{out}", "{data.rot}"]}, r"\{data.rot\}.*did you mean 'data.root'"),
        ({"run": ["a", "{out}", "{sed}"]}, r"did you mean 'seed'"),
        ({"run": ["a", "{out}", '{"x": 1}']}, "a brace is written twice"),
        ({"run": ["a", "{out}", "{classifier}"]}, "what `classifier` makes, but must be cams or files or"),
        ({"run": ["a", "{out}", "{later}"]}, "neither a value nor an earlier stage"),
        ({"run": ["a"]}, r"`run` has no \{out\}"),
        ({"run": None}, "`run` is missing"),
        ({"run": []}, "`run` is missing"),
        ({"run": ["a", "{out}", "--x=$alpha"]}, "a variable stands alone"),
        ({"run": ["a", "{out}", "$alpha"]}, r"the variable `\$alpha` of `theirs` is not in `search`"),
        ({"run": ["env", "WANDB_API_KEY=abcdef123", "a", "{out}"]}, "looks like a secret"),
        ({"run": ["a", "{out}", "--api-key", "abcdef"]}, "looks like a secret"),
        ({"supervision": None}, "`supervision` is missing"),
        ({"supervision": []}, "supervision"),
        ({"supervision": ["picture"]}, "picture"),
        ({"supervision": ["image", {"masks": 25}]}, "trains on pixel masks, which are for evaluation"),
        ({"supervision": ["image", "masks"]}, "trains on pixel masks, which are for evaluation"),
        ({"makes": "maps"}, "maps"),
        ({"makes": "segmentations"}, "scored on `data.test`, which is missing"),
        ({"folder": None}, "`folder` is missing"),
        ({"timeout": "soon"}, "like 90s, 30m, 6h or 2d"),
        ({"timeout": 0}, "timeout"),
        ({"environment": {}}, "either `python: PATH` or `conda: NAME`"),
        ({"environment": {"python": "/a", "conda": "b"}}, "either `python: PATH` or `conda: NAME`"),
        ({"progress": {"pattern": "(("}}, "no regular expression"),
        ({"makes": "pseudo_masks", "reads": {"maps": "x"}}, "`reads.maps` belongs to"),
        ({"code": "abc"}, "`code`: is no key of `command`"),
        ({"fodler": "/x"}, "did you mean 'folder'"),
    ],
    ids=str,
)
def test_it_is_refused_with_what_was_expected(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as error:
        load(CLASSIFIER, command(**changes))
    assert "s.yaml:" in str(error.value)


def test_what_it_may_say() -> None:
    study = load(
        command(
            run=["python", "t.py", "--a", "$a", "{{}}", "--flag=true", "cost: 5$$", "{out}"], timeout="90m"
        ),
        command(**{"as": "next"}, makes="pseudo_masks", run=["./r.sh", "{theirs}", "{theirs.npz}", "{out}"]),
        {"pseudo_masks": {}},
        search={"a": {"choice": [0.1, 2, True]}},
    )
    stages = study.sweeps[0].arms[0].stages
    params = [resolve_stage(stages[0], {"a": value}) for value in (0.1, 2, True)]
    assert [one.words[3] for one in params] == ["0.1", "2", "true"]  # type: ignore[attr-defined]
    assert params[0].seconds == 5400  # type: ignore[attr-defined]
    assert [str(program.words[0]) for program in study_programs(study)] == ["python", "./r.sh"]


def test_paths_are_relative_to_the_study() -> None:
    study = load(command(folder="../src", environment={"python": "env/bin/python"}))
    params = study.sweeps[0].arms[0].stages[0].params
    assert params["folder"] == "/src" and params["environment"] == {"python": "/studies/env/bin/python"}


def test_a_name_of_an_earlier_sweep_is_known_and_a_later_one_not() -> None:
    text = yaml.safe_dump(
        {
            "data": {"dataset": "sample"},
            "sweeps": [
                {"name": "one", "stages": [CLASSIFIER, {"cams": {"as": "ours"}}]},
                {
                    "name": "two",
                    "stages": [command(makes="pseudo_masks", run=["r", "{ours}", "{cams}", "{out}"])],
                },
            ],
        }
    )
    load_study_text(text, source="s.yaml", base=Path("/"))


def test_how_long_a_program_trains_is_not_compared() -> None:
    """Nobody can know; the arms of ours beside it are still compared with each other."""
    ours = [{"classifier": {"backbone": "efficientnet_lite0", "epochs": 2}}, "cams"]
    longer = [{"classifier": {"backbone": "efficientnet_lite0", "epochs": 4}}, "cams"]
    arms = {"theirs": {"stages": [command(**{"as": "cams"})]}, "ours": {"stages": ours}}

    def text(**more: Any) -> str:
        sweep = {"name": "cam", "arms": {**arms, **more}}
        return yaml.safe_dump({"data": {"dataset": "sample"}, "sweeps": [sweep]})

    load_study_text(text(), source="s.yaml", base=Path("/"))
    with pytest.raises(ConfigError, match="train differently long: longer 4 epochs, ours 2 epochs"):
        load_study_text(text(longer={"stages": longer}), source="s.yaml", base=Path("/"))


def test_smoke_adds_its_words() -> None:
    study = smoke(load(command(smoke=["--epochs", 1])))
    params = study.sweeps[0].arms[0].stages[0].params
    assert params["run"][-2:] == ["--epochs", 1] and "smoke" not in params


def test_pixel_labels_are_allowed_by_name() -> None:
    for labels in (["image", "masks"], ["image", {"masks": 25}]):
        study = load(command(supervision=labels), data={"allow": ["train_on_masks"]})
        params = resolve_stage(study.sweeps[0].arms[0].stages[0], {})
        again = type(params).model_validate(params.model_dump(mode="json"))
        assert again == params, "as it comes from a record"
