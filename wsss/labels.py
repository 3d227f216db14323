"""What the numbers in a mask mean, besides the classes, which count from 1."""

BACKGROUND = 0
IGNORED = 255
"""Nobody says what such a pixel shows: no score and no loss counts it."""
