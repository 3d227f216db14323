"""What an arm is called through several sweeps: "baseline+crf" went through arm `baseline`, then `crf`."""

from __future__ import annotations

from wsss.config import Arm, Sweep

MARK = "+"


def arm_label(sweep: Sweep, arm: Arm, before: str = "") -> str:
    """Return the label of an arm after the arm labelled `before` of an earlier sweep; a sweep without `arms`
    adds nothing to it.

    Args:
        sweep: has the arm.
        arm: the arm.
        before: the label so far; empty in a first sweep.
    """
    if not before:
        return arm.name
    return before if arm.name == sweep.name else f"{before}{MARK}{arm.name}"


def arm_of(sweep: Sweep, label: str) -> Arm:
    """Return the arm of a sweep that a label ends in: the one of that name, or the only one, which has none.

    The sweep has arms, as every sweep that does not replicate another.
    """
    own = label.rpartition(MARK)[2]
    return next((arm for arm in sweep.arms if arm.name == own), sweep.arms[0])


def arm_names(label: str) -> list[str]:
    """Return the names of the arms that a label went through, the first one first.

    Examples:
        >>> arm_names("baseline+crf")
        ['baseline', 'crf']
    """
    return label.split(MARK)


def labels_upto(label: str) -> list[str]:
    """Return the labels that an arm had in each sweep so far, the shortest first.

    Examples:
        >>> labels_upto("baseline+crf")
        ['baseline', 'baseline+crf']
    """
    names = arm_names(label)
    return [MARK.join(names[:length]) for length in range(1, len(names) + 1)]


def comes_from(label: str, earlier: str) -> bool:
    """Whether an arm is a named one of a later sweep, after the arm labelled `earlier`."""
    return earlier in labels_upto(label)[:-1]
