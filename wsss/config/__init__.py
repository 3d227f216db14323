"""What a study file may say. Importing it is cheap: no torch, no ray, no mlflow."""

from wsss.config.load import dump_study, load_study, load_study_text
from wsss.config.params.methods import METHODS
from wsss.config.resolve import resolve_stage
from wsss.config.search import Distribution, Scalar
from wsss.config.smoke import smoke
from wsss.config.study import (
    Arm,
    Base,
    Budget,
    DataSpec,
    Resources,
    SampleSpec,
    SplitSpec,
    StageUse,
    Study,
    Sweep,
    Tracking,
)
from wsss.config.tuning import Fifo, OptunaSearch, Pbt, Scheduler, Searcher, StopRule

__all__ = [
    "METHODS",
    "Arm",
    "Base",
    "Budget",
    "DataSpec",
    "Distribution",
    "Fifo",
    "OptunaSearch",
    "Pbt",
    "Resources",
    "SampleSpec",
    "Scalar",
    "Scheduler",
    "Searcher",
    "SplitSpec",
    "StageUse",
    "StopRule",
    "Study",
    "Sweep",
    "Tracking",
    "dump_study",
    "load_study",
    "load_study_text",
    "resolve_stage",
    "smoke",
]
