"""Files in artefacts of trained networks: weights as safetensors, a JSON that says what they belong to."""

from __future__ import annotations

CLASSIFIER_WEIGHTS, CLASSIFIER_ABOUT = "classifier.safetensors", "classifier.json"
SEGMENTER_WEIGHTS, SEGMENTER_ABOUT = "segmenter.safetensors", "segmenter.json"
