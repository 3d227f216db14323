"""Networks that were never trained but have something to say come from `tests/predict`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "predict"))
