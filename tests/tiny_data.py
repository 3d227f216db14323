"""The data of studies that run within seconds, as YAML."""

TINY_DATA = """\
data:
  dataset: sample
  sample: {train: 20, val: 4, size: 64}
  holdout: 0.2
  select: {split: train, half: a}
  report: {split: train, half: b}
"""
