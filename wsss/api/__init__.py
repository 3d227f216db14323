"""What a notebook imports: `wsss.load`, `wsss.cams`, `wsss.crf`, `wsss.walk`, `wsss.mix`, `wsss.score`,
`wsss.run`, `wsss.compare`."""

from wsss.api.algorithms import cams, crf, mix, walk
from wsss.api.networks import Trained, load
from wsss.api.scores import Scores, score
from wsss.api.studies import Ran, compare, run

__all__ = ["Ran", "Scores", "Trained", "cams", "compare", "crf", "load", "mix", "run", "score", "walk"]
