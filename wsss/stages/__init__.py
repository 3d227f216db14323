"""The steps of a chain: `kinds` says what is known of each, a file beside it does the work.

Importing it is cheap: the work is imported when an artefact is made.
"""

from wsss.config.stage import STAGES

__all__ = ["STAGES"]
