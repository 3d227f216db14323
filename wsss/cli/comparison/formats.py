"""A table of text as CSV, Markdown, LaTeX or HTML, to be read by programs or put into papers and pages."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Mapping, Sequence
from typing import Any

TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "Δ": r"$\Delta$",
    "τ": r"$\tau$",
    "†": r"$\dagger$",
    "±": r"$\pm$",
    "−": "$-$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
}
"""What LaTeX needs in place of a character."""


def csv_text(records: Sequence[Mapping[str, Any]]) -> str:
    """Return records as CSV with a header; None is empty, numbers have six digits.

    Examples:
        >>> print(csv_text([{"arm": "floor", "cam": 0.25}, {"arm": "a, b", "cam": None}]), end="")
        arm,cam
        floor,0.25
        "a, b",
    """
    text = io.StringIO()
    header = list(records[0]) if records else []
    lines = [list(map(_cell, record.values())) for record in records]
    csv.writer(text, lineterminator="\n").writerows([header, *lines])
    return text.getvalue()


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def markdown(title: str, header: Sequence[str], lines: Sequence[Sequence[str]], notes: str) -> str:
    """Return a Markdown table with its notes below.

    Args:
        title: in bold above it; empty for none.
        header: names of the columns.
        lines: cells of each row.
        notes: sentences, one a line.
    """

    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    heading = [f"**{title}**\n"] if title else []
    return "\n".join([*heading, row(header), "|" + "---|" * len(header), *map(row, lines), "", notes])


def latex(title: str, header: Sequence[str], lines: Sequence[Sequence[str]], notes: str) -> str:
    """Return a LaTeX table for the package `booktabs`, the notes as comments below it; arguments are those of
    `markdown`."""

    def row(cells: Sequence[str]) -> str:
        return " & ".join(map(tex, cells)) + r" \\"

    said = [f"% {line}" for line in notes.splitlines() if line]
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            r"\begin{table}",
            rf"\caption{{{tex(title)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
            r"\toprule",
            row(header),
            r"\midrule",
            *map(row, lines),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            *said,
        ]
    )


def tex(text: str) -> str:
    r"""Return text as LaTeX prints it.

    Examples:
        >>> print(tex("fmix_2 & co: Δ 5 %"))
        fmix\_2 \& co: $\Delta$ 5 \%
    """
    return "".join(TEX.get(character, character) for character in text)


def as_html(title: str, header: Sequence[str], lines: Sequence[Sequence[str]], notes: str) -> str:
    """Return a table as HTML, a part of a page, with a paragraph for each note; arguments are those of
    `markdown`."""

    def row(cells: Sequence[str], first: str, other: str) -> str:
        tags = [first, *[other] * (len(cells) - 1)]
        named = zip(tags, cells, strict=True)
        return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag[:2]}>' for tag, cell in named)}</tr>"

    heading = 'th scope="col"'
    return "\n".join(
        [
            "<table>",
            f"<caption>{html.escape(title)}</caption>",
            f"<thead>{row(header, heading, heading)}</thead>",
            "<tbody>",
            *(row(line, 'th scope="row"', "td") for line in lines),
            "</tbody>",
            "</table>",
            *(f"<p>{html.escape(line)}</p>" for line in notes.splitlines() if line),
        ]
    )


FORMATS = {"markdown": markdown, "latex": latex, "html": as_html}
"""By the name of a format: what writes (title, header, lines, notes)."""
