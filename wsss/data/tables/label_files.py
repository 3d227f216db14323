"""Reading a table of image-level labels: CSV in its natural forms, or JSON."""

from __future__ import annotations

from pathlib import Path

from wsss.data.tables.label_csv import read_csv_labels
from wsss.data.tables.label_json import read_json_labels
from wsss.data.tables.label_table import LabelTable
from wsss.errors import DataError, Problem


def read_labels(path: Path) -> LabelTable:
    """Return a table's labels. Raises `DataError` when the file can't be read or has no known form."""
    ending = path.suffix.lower()
    if ending == ".json":
        return read_json_labels(path)
    if ending in (".csv", ".tsv"):
        return read_csv_labels(path)
    raise DataError(Problem(str(path), f"labels end in {ending!r}, but must be .csv, .tsv or .json"))
