"""Where tables are printed, and how wide columns fit into that."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

PLAIN = 80
"""Columns of what is no terminal, unless COLUMNS says otherwise."""
GAP = 3
"""Cells between two columns."""
WORDS = 28
"""Cells after which words in a column are folded."""
LEAST = 12
"""Cells that a name has at least before it is folded."""

Group = Sequence[int]
"""Columns that belong together, by their place."""


def out() -> Console:
    """Return the console for results: the terminal, or a file as wide as COLUMNS says, or 80 columns.

    It prints texts as they are: a folder may be called `[/b]` or `:dog:`.
    """
    width = None if Console().is_terminal else shutil.get_terminal_size((PLAIN, 24)).columns
    return Console(width=width, markup=False, emoji=False, highlight=False)


def say(text: str) -> None:
    """Print lines of words: folded between words on a terminal, as they are elsewhere."""
    console = Console()
    if console.is_terminal:
        console.print(Text(text))
    else:
        print(text)


def print_table(
    title: str,
    header: Sequence[str],
    lines: Sequence[Sequence[str]],
    *,
    names: int = 1,
    groups: Sequence[Group] = (),
    left: Sequence[int] = (),
    several: bool = True,
) -> list[str]:
    """Print a table, or several where one would be too wide. Each begins with the names of rows; the first
    has all rows, a later one only those that have a cell in it.

    Returns the headings of columns that were left out.

    Args:
        title: stands above.
        header: the columns' headings.
        lines: the rows' cells, as many.
        names: how many columns, the first ones, name a row: they stand in every table.
        groups: the others that stay together, the most important first; none: each for itself, as they stand.
        left: the columns of words besides names, which are folded where they are long.
        several: whether what doesn't fit gets tables of its own; else it is left out.
    """
    console = out()
    cells = [list(header), *map(list, lines)]
    natural = [max(cell_len(line[column]) for line in cells) for column in range(len(header))]
    widths = [min(width, WORDS) if n in left else width for n, width in enumerate(natural)]
    groups = groups or [[n] for n in range(names, len(header))]
    # Long names are folded, so that what counts most stands beside them.
    room = console.width - GAP * (names - 1) - sum(widths[n] + GAP for n in (groups or [[]])[0])
    if sum(widths[:names]) > room:
        widths[:names] = [min(width, max(LEAST, room // names)) for width in widths[:names]]
    parts = list(fitted(widths, console.width, names, groups))
    for part in parts if several else parts[:1]:
        mine = [line for line in lines if part is parts[0] or any(line[column] for column in part[names:])]
        if not mine and lines:
            continue
        table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        table.show_edge = False
        for column in part:
            words = column < names or column in left
            if words:
                table.add_column(header[column], width=widths[column], overflow="fold")
            else:
                table.add_column(header[column], justify="right", no_wrap=True, min_width=widths[column])
        for line in mine:
            table.add_row(*(Text(line[column]) for column in part))
        console.print(table)
        console.print()
        title = ""
    shown = {column for part in parts[: None if several else 1] for column in part}
    return [heading for column, heading in enumerate(header) if column not in shown]


def fitted(widths: Sequence[int], width: int, names: int, groups: Sequence[Group]) -> Iterator[Sequence[int]]:
    """Yield the columns of each table: all in one where they fit; else names, and as many groups as fit.

    Args:
        widths: of all columns, in cells.
        width: of the screen.
        names: how many columns, the first ones, stand in every table.
        groups: the others, the most important first.
    """
    first = list(range(names))

    def taken(columns: Sequence[int]) -> int:
        return sum(widths[column] for column in columns) + GAP * (len(columns) - 1)

    everything = [*first, *sorted(column for group in groups for column in group)]
    if taken(everything) <= width:
        yield everything
        return
    table: list[int] = []
    for group in groups:
        whole = taken([*first, *group]) <= width
        for number, piece in enumerate([list(group)] if whole else [[one] for one in group]):
            # The columns of a group that is too wide begin a table of their own.
            if table and ((not whole and not number) or taken([*first, *table, *piece]) > width):
                yield [*first, *table]
                table = []
            table += piece
    if table or not groups:
        yield [*first, *table]
