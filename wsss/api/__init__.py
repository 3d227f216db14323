"""What a notebook imports: `wsss.load`, `wsss.cams`, `wsss.crf`, `wsss.walk`, `wsss.mix`, `wsss.score`."""

from wsss.api.algorithms import cams, crf, mix, walk
from wsss.api.networks import Trained, load
from wsss.api.scores import Scores, score

__all__ = ["Scores", "Trained", "cams", "crf", "load", "mix", "score", "walk"]
