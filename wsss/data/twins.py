"""The same photo under two names, in lists that must not share any: it would choose, and be reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from wsss.errors import Problem

APART = {
    "test": ("train", "holdout", "select", "report", "teach"),
    "report": ("select", "teach"),
    "select": ("teach",),
}
"""Lists that must not share photos; `train` and `report` may, by the protocol of the field."""
ALLOWS = {"test": "train_on_test", "report": "select_on_report"}
FEW = 0.01
"""Share of a list up to which twins are warned of: large public sets have some."""


def find_twins(
    lists: Mapping[str, Sequence[str]],
    digests: Callable[[Sequence[str]], Sequence[str]],
    allow: Sequence[str],
    where: str,
) -> tuple[list[Problem], list[Problem]]:
    """Return what is wrong with lists, and what may be: photos that are in two of them, with other ids.

    Args:
        lists: name → ids.
        digests: of the files of photos with these ids, in their order.
        allow: what the study allows itself.
        where: what messages call the data set.
    """
    by_digest = {name: dict(zip(digests(ids), ids, strict=True)) for name, ids in lists.items() if ids}
    problems: list[Problem] = []
    warnings: list[Problem] = []
    for name, others in APART.items():
        for other in others:
            if name not in by_digest or other not in by_digest or ALLOWS.get(name) in allow:
                continue
            mine, theirs = by_digest[name], by_digest[other]
            pairs = [(mine[one], theirs[one]) for one in mine.keys() & theirs.keys()]
            twins = sorted(pair for pair in pairs if pair[0] != pair[1])
            if not twins:
                continue
            message = (
                f"{len(twins)} of {len(lists[name])} `{name}` photos are in `{other}` too, under other "
                f"names, such as {twins[0][0]} and {twins[0][1]}"
            )
            hint = "delete one of each"
            if name in ALLOWS:
                hint += f", or say `data.allow: [{ALLOWS[name]}]`, which stands below every table"
            few = len(twins) <= FEW * len(lists[name])
            (warnings if few else problems).append(Problem(where, message, hint))
    return problems, warnings
