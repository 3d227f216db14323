"""The stages of a chain, by the names that a study file uses."""

from __future__ import annotations

from wsss.stages.affinity import Affinity
from wsss.stages.affinity_labels import AffinityLabels
from wsss.stages.cams import Cams
from wsss.stages.classifier import Classifier
from wsss.stages.contract import Context, Stage
from wsss.stages.features import Features
from wsss.stages.imported import Import
from wsss.stages.pseudo_masks import PseudoMasks
from wsss.stages.scores import Scores, ScoresParams
from wsss.stages.segmentation_network import load_segmenter
from wsss.stages.segmentations import Segmentations
from wsss.stages.segmenter import Segmenter
from wsss.stages.subcategories import SubcategoriesStage

STAGES: dict[str, type[Stage]] = {
    stage.name: stage
    for stage in (
        Classifier,
        Features,
        SubcategoriesStage,
        Cams,
        AffinityLabels,
        Affinity,
        Import,
        PseudoMasks,
        Segmenter,
        Segmentations,
        Scores,
    )
}
"""Every stage there is; to add one, add its class here and its parameters to `STAGE_PARAMS`."""

SCORED = ("cams", "pseudo_masks", "segmentations")
"""Stages whose artefacts are compared with masks, in a score artefact of its own."""

__all__ = ["SCORED", "STAGES", "Context", "Scores", "ScoresParams", "Stage", "load_segmenter"]
