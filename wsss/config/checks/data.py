"""Checking which images a study uses to train, to choose and to report."""

from __future__ import annotations

from collections.abc import Sequence

from wsss.config.checks.checker import Checker
from wsss.config.checks.places import all_uses
from wsss.config.data_set import DATA_SETS, DataSpec
from wsss.config.params.supervision import names_masks
from wsss.config.resolve import draws_masks, kinds_made, variables_in
from wsss.config.stage import scored_as
from wsss.config.study import Sweep


def check_splits(checker: Checker, data: DataSpec) -> None:
    """Refuse lists that overlap: images that choose must not be reported."""
    pairs = (("report", data.report, "select", data.select), ("test", data.test, "select", data.select),
             ("test", data.test, "report", data.report))  # fmt: skip
    for name, spec, other_name, other in pairs:
        if "select_on_report" in data.allow and other_name == "select":
            continue
        if checker.is_left_out(("data", name)) or checker.is_left_out(("data", other_name)):
            continue
        if spec is not None and other is not None and spec.overlaps(other):
            message = f"`{name}` ({spec}) shares images with `{other_name}` ({other})"
            hint = (
                "a number is only honest on images that nothing was chosen on; use two halves or two splits"
            )
            checker.add(("data", name), message, hint)


def check_folder(checker: Checker, data: DataSpec) -> None:
    """Refuse keys that this kind of data set does not have, and uses of masks that are not there."""
    for key in ("labels", "masks"):
        if getattr(data, key) is not None and key not in DATA_SETS[data.dataset].keys:
            owners = [f"`dataset: {kind.name}`" for kind in DATA_SETS.values() if key in kind.keys]
            checker.add(("data", key), f"`{key}` belongs to {' or '.join(owners)}, not to {data.dataset}")
    if data.teach is not None and not data.has_masks:
        message = f"`teach` ({data.teach}) names images with masks, but there are none"
        checker.add(("data", "teach"), message, "say `data.masks: FOLDER`")
    if data.scored:
        return
    checker.judge = "holdout" if data.holdout else "nothing"
    for key in ("select", "report", "test"):
        spec = getattr(data, key)
        if key in data.model_fields_set and spec is not None and spec.split != "masked":
            message = f"`{key}` ({spec}) names images with masks, but there are none"
            checker.add(
                ("data", key), message, "put masks into the folder's `masks`, or say `data.masks: FOLDER`"
            )


def check_supervision(checker: Checker, data: DataSpec, sweeps: Sequence[Sweep]) -> None:
    """Refuse training on masks unless `data.allow` names it, or the masks are a few that are scored nowhere;
    refuse it without masks."""
    if "train_on_masks" in data.allow and data.has_masks:
        return
    for path, arm, use in all_uses(sweeps):
        if data.has_masks and draws_masks(use, arm.search):
            continue
        asked = use.params.get("supervision")
        tried = [arm.search[name].values for name in variables_in(asked) if name in arm.search]
        if names_masks(asked) or any("masks" in values for values in tried):
            message = f"arm `{arm.name}` trains on pixel masks, which are for evaluation"
            hint = "if it is meant as a control, say `data.allow: [train_on_masks]`"
            if not data.has_masks:
                message, hint = f"arm `{arm.name}` trains on pixel masks, but there are none", ""
            checker.add((*path, "supervision"), message, hint)


def check_test(checker: Checker, data: DataSpec, sweeps: Sequence[Sweep]) -> None:
    """Refuse stages that are scored on `test` images when there are none."""
    if data.test is not None:
        return
    for path, _, use in all_uses(sweeps):
        scored = [found for kind in kinds_made(use) if (found := scored_as(kind)) is not None]
        if any(found.on == "test" for found in scored):
            message = f"`{use.stage}` are scored on `data.test`, which is missing"
            checker.add(path, message, "name images that nothing was trained on: `test: {split: val}`")
