"""`schema`: what may stand in a study file, for editors."""

from __future__ import annotations

import json


def schema() -> None:
    """Print the JSON Schema of study files: an editor completes and checks by it.

    python launch.py schema > study.schema.json
    """
    from wsss.config.schema import study_schema

    print(json.dumps(study_schema(), indent=1))
