"""Labels in CSV, of three kinds by the heading:

image,label          one label a row, an image may have several rows
image,labels         several labels in a cell, separated by ';', '|' or ','
image,cat,dog        a column per class, 1 where the image shows it, 0 or nothing where not
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from wsss.data.tables.class_names import MOST_CLASSES
from wsss.data.tables.label_table import IMAGE_WORDS, LABEL_WORDS, LabelTable
from wsss.data.tables.text import quote, read_text, tidy
from wsss.errors import DataError, Problem

YES, NO = ("1", "1.0", "true", "yes"), ("", "0", "0.0", "false", "no")
FORMS = "expected image,label or image,labels or a column per class: image,cat,dog"
ONE_COLUMN = "one column of labels is expected"

Rows = Iterable[tuple[int, list[str]]]


def read_csv_labels(path: Path) -> LabelTable:
    """Return a table's labels. Raises `DataError` when the file can't be read or has no known heading."""
    text = read_text(path)
    rows = _rows(path, text)
    number, heading = next(rows, (0, []))
    heading = [tidy(name) for name in heading]
    if not heading:
        raise DataError(Problem(str(path), "is empty", FORMS))
    place = f"{path}:{number}"
    while len(heading) > 2 and not heading[-1]:
        heading.pop()  # spreadsheets save empty columns
    words = [word.lower() for word in heading]
    if len(heading) == 1 and words[0] in IMAGE_WORDS:
        raise DataError(
            Problem(place, f"the heading is {quote(heading[0])}, but must name labels, too", FORMS)
        )
    if len(heading) < 2 or words[0] not in IMAGE_WORDS:
        shown = quote(",".join(heading[:50]))
        message = f"the heading is {shown}, but its first column must be one of {', '.join(IMAGE_WORDS)}"
        hint = (
            "leave the column of row numbers out" if not words[0] and set(words) & {*IMAGE_WORDS} else FORMS
        )
        if len(heading) == 1 and heading[0].startswith(IMAGE_WORDS):
            hint = f"separate cells by , ; or tabs; {FORMS}"
        raise DataError(Problem(place, message, hint))
    labelled = [number for number, word in enumerate(words) if number and word in LABEL_WORDS]
    if labelled and len(heading) > 2:
        others = [name for number, name in enumerate(heading) if number and number != labelled[0]]
        message = f"{ONE_COLUMN}, but beside {heading[labelled[0]]!r} there is {_listed(others)}"
        hint = "leave the others out; several labels of an image stand in one cell, cat;dog"
        raise DataError(Problem(place, message, hint))
    table = LabelTable(path)
    whole = _whole(table, rows, len(heading))
    if labelled:
        for line, (image, cell) in whole:
            table.add(image, [cell], f"{path}:{line}", again=True)
        if table.named and {name.lower() for name in table.named} <= {*YES, *NO}:
            hint = "name the column after its class"
            table.refuse(place, "the labels are 0 and 1, not names", hint)
    else:
        _add_columns(table, whole, heading[1:], place)
    return table


def _rows(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that hold something, each with the number of its first line."""
    skipped = 0
    if text[:4].lower() == "sep=":  # a line for spreadsheets
        separator, skipped = text[4:5], 1
        text = text.partition("\n")[2]
    else:
        first = next((line for line in text.split("\n", 50)[:50] if line.strip()), "")
        separator = max(",;\t", key=first.count)  # a tie is a comma
    if separator not in (",", ";", "\t"):
        raise DataError(
            Problem(f"{path}:1", f"cells are separated by {separator!r}, but must be by , ; or tabs")
        )
    reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
    line = 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield line + skipped, [cell.strip() for cell in row]
            line = reader.line_num + 1
    except csv.Error as error:
        reason = str(error)
        if "field larger" in reason:
            reason = f"a cell is longer than {csv.field_size_limit():,} characters: is a quote left open?"
        elif "unexpected end of data" in reason:
            reason = "a quote is left open"
        raise DataError(Problem(f"{path}:{line + skipped}", f"is no valid CSV: {reason}")) from error


def _whole(table: LabelTable, rows: Rows, width: int) -> Rows:
    for line, row in rows:
        while len(row) > width and not row[-1]:
            row.pop()
        if len(row) == width:
            yield line, row
            continue
        message = f"has {len(row)} cell{'s' * (len(row) != 1)}, but the heading has {width}"
        hint = "put a cell into quotes when it holds the separator" if len(row) > width else ""
        table.refuse(f"{table.path}:{line}", message, hint)
        table.add_unread(row[0], f"{table.path}:{line}")


def _add_columns(table: LabelTable, rows: Rows, heading: Sequence[str], place: str) -> None:
    if len(heading) > MOST_CLASSES:
        message = f"the heading names {len(heading):,} classes, but must name 1 to {MOST_CLASSES}"
        raise DataError(Problem(place, message, FORMS))
    classes = list(heading)
    if "" in classes:
        raise DataError(Problem(place, f"column {classes.index('') + 2} has no name", FORMS))
    table.columns = tuple(classes)
    table.named.update(dict.fromkeys(classes, place))
    numbers, texts = [0] * len(classes), dict[int, tuple[str, str]]()
    for line, (image, *cells) in rows:
        where = f"{table.path}:{line}"
        shown = []
        for index, cell in enumerate(cells):
            word = tidy(cell).lower()
            numbers[index] += bool(word) and word in (*YES, *NO)
            if word in YES:
                shown.append(classes[index])
            elif word not in NO:
                texts.setdefault(index, (where, cell))
                hint = FORMS if word not in ("-1", "nan") else "1 where the image shows it, 0 where not"
                table.refuse(
                    where, f"column {quote(classes[index])} is {quote(cell)}, but must be 0 or 1", hint
                )
        table.add_names(image, shown, where)
    wordy = [index for index in texts if not numbers[index]]
    if wordy:
        where, cell = texts[wordy[0]]
        what = f"column {classes[wordy[0]]!r} is {quote(cell)}" + (
            f", and {_listed([classes[index] for index in wordy[1:]])} no numbers either" if wordy[1:] else ""
        )
        message = f"{what}, but a column per class holds 0 and 1"
        hint = f"{ONE_COLUMN}, called label, where labels are words; leave other columns out"
        raise DataError(Problem(where, message, hint))


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(quote(name) for name in names[:5])
    return f"{shown} and {len(names) - 5:,} more" if len(names) > 5 else shown
