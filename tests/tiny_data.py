"""The data of studies that run within seconds, as YAML."""


def tiny_data(train: int, val: int, *more: str) -> str:
    """Return `data` of a study: so many drawn photos of 64 pixels, of which `train` are scored in halves.

    `more` are further lines, such as "holdout: 0.2".
    """
    lines = (
        "dataset: sample",
        f"sample: {{train: {train}, val: {val}, size: 64}}",
        "select: {split: train, half: a}",
        "report: {split: train, half: b}",
        *more,
    )
    return "data:\n" + "".join(f"  {line}\n" for line in lines)


TINY_DATA = tiny_data(20, 4, "holdout: 0.2")
