"""What a process sees whose path has the toy package; prints it as JSON.

python with_plugins.py STORAGE
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "toy_package"), str(HERE.parent), str(HERE.parent / "pipeline")]

from tiny_data import TINY_DATA  # noqa: E402

STUDY = (
    f"name: toy\n{TINY_DATA}"
    + """\
sweeps:
  - name: cam
    search: {w: {choice: [0.1, 0.2]}}
    stages:
      - classifier: {backbone: toy_attention, weights: none, epochs: 2, batch: 4, crop: 64, long_side: [64, 96], rung: {images: 4}, flatness: {weight: $w}}
      - cams: {scales: [1.0]}
      - toy_masks: {threshold: 0.4, rounds: 2}
    metric: toy_masks/select/miou
"""
)


def main() -> None:
    storage = Path(sys.argv[1])
    from command_line import in_process
    from golden_keys import STUDIES, study_keys

    from wsss.config import load_study

    file = storage / "toy.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(STUDY)
    misspelt = {
        "regulariser": STUDY.replace("flatness", "flatnes"),
        "group": STUDY.replace("flatness: {weight", "flatness: {powr: 3, weight"),
        "stage": STUDY.replace("toy_masks: {", "toy_mask: {"),
        "params": STUDY.replace("rounds: 2", "round: 2"),
        "backbone": STUDY.replace("toy_attention", "toy_atention"),
        "head": STUDY.replace("weights: none", "weights: none, class_maps: class_token"),
        "metric": STUDY.replace("metric: toy_masks", "metric: toy_mask"),
    }
    found: dict[str, object] = {}
    for what, text in misspelt.items():
        other = storage / f"{what}.yaml"
        other.write_text(text)
        done = in_process("plan", other, "--storage", storage / "plans")
        found[f"misspelt {what}"] = [done.returncode, done.stderr]
    place = storage / "runs"
    words = (file, "--storage", place)
    for name, command in {
        "smoke": ("run", *words, "--smoke", "--local"),
        "run": ("run", *words, "--local"),
        "plan": ("plan", *words, "--json"),
        "compare": ("compare", "toy", "--storage", place, "--format", "json"),
        "table": ("compare", "toy", "--storage", place),
    }.items():
        done = in_process(*command)
        found[name] = [done.returncode, done.stdout, done.stderr]
    found["keys"] = {path.name: study_keys(load_study(path)) for path in STUDIES[:3]}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
