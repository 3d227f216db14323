"""A model card says what a network was taught with and what it scored, and only what is known."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_up import FAIR, FAIR_MIOU, POOR, Storage

from wsss.config.text.yaml_text import parse_yaml
from wsss.report.words.card import model_card

KEY = "ab12cd" + "0" * 58


def head_of(card: str) -> dict:
    first, head, text = card.split("---\n", 2)
    assert not first and text.startswith("\n# ")
    return parse_yaml(head, "card").value


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    made = Storage(tmp_path)
    for arm, counts, key in (("baseline", POOR, "f" * 64), ("fmix", FAIR, KEY)):
        keys = {
            "cams.scores": made.scores([counts] * 2),
            "segmenter": key,
            "segmentations.scores": made.scores([counts] * 3, kind="segmentations"),
        }
        made.trial(arm, None, keys=keys, method="cam" if arm == "baseline" else "fmix")
    return made


def test_a_card_gives_the_scores_of_its_own_trial(storage: Storage) -> None:
    record = {"key": KEY, "params": {"backbone": "mobilenet_v2", "crop": 64}, "seconds": 61, "device": "cpu"}
    card = model_card("animals", ["cat", "dog"], record, storage.root)
    head = head_of(card)
    assert head["pipeline_tag"] == "image-segmentation" and "mobilenet_v2" in head["tags"]
    ((result,),) = [model["results"] for model in head["model-index"]]
    assert result["metrics"] == [{"type": "mean_iou", "value": round(FAIR_MIOU, 4)}]
    assert result["dataset"]["split"] == "test"
    assert f"| segmentation | {100 * FAIR_MIOU:.1f} |" in card
    assert "3 `test`, no labels given" in card and "2 `report`, image-level labels given" in card
    assert "| 0 | background |\n| 1 | cat |\n| 2 | dog |" in card
    assert "- arm: fmix" in card and '"crop": 64' in card and KEY in card
    assert "supervision: " in card


def test_a_network_of_which_nothing_is_known_has_a_card_that_says_so(storage: Storage) -> None:
    card = model_card("other", ["cat"], {}, storage.root)
    assert "model-index" not in head_of(card)
    assert "No study has scored it." in card and "it came as a file" in card
