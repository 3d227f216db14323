"""A study file with nothing wrong, for tests that change a word of it."""

_SWEEP = """\
name: good
data: {dataset: sample, select: {split: train, half: a}, report: {split: train, half: b}}
seed: 3
sweeps:
  - name: cam
    arms:
      baseline:
        stages: [classifier: {method: cam, epochs: 2}, cams: {scales: [1.0]}]
      fmix:
        search: {alpha: {loguniform: [0.2, 2]}, decay: {choice: [2, 3]}}
        samples: 2
        stages:
          - classifier: {method: fmix, mixing: {alpha: $alpha, decay: $decay}}
          - cams
"""

_ALLOW = "allow: [unequal_tuning, {unequal_epochs: a study to read}]\n"
ONE_SWEEP = _SWEEP.replace("seed: 3\n", _ALLOW)


def with_more(text: str) -> str:
    """Return the study with one sweep and more of it: keys of the sweep, or further sweeps."""
    return _SWEEP + text + _ALLOW


GOOD = (
    _SWEEP
    + """\
    keep: 1
  - name: masks
    stages: [pseudo_masks]
  - name: again
    replicate: masks
    seeds: [1, 2]
"""
    + _ALLOW
)
