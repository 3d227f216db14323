"""All parameters of a trial that a ledger tells of: as its artefacts were made, else as its study says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wsss.config import Pbt, Study
from wsss.errors import WsssError
from wsss.pipeline.chains.chain import SCORES, Part
from wsss.pipeline.search.arms import arm_of
from wsss.pipeline.search.parts import Stages, arm_parts, member_parts, shown_stages
from wsss.store.folder_store import Store
from wsss.store.ledger import TrialRecord


@dataclass(frozen=True)
class Planned:
    """A study and its trials; `base` is that of the study which it starts from."""

    study: Study
    records: Mapping[str, TrialRecord]
    base: Planned | None = None

    def parts(self, record: TrialRecord, params: Mapping[str, Any]) -> tuple[Part, ...]:
        """Return the stages of a trial's chain, in order, `params` being what it was begun with.

        Raises `ConfigError` or `LookupError` where the study doesn't say any more.
        """
        sweep = next(one for one in self.study.sweeps if one.name == record.sweep)
        before: tuple[Part, ...] = ()
        source = self.records.get(record.upstream)
        if source is not None:
            before = self.parts(source, source.params)
        elif record.upstream:
            if self.base is None:
                raise LookupError(record.upstream)
            source = self.base.records[record.upstream]
            before = self.base.parts(source, source.params)
        if sweep.replicate:
            return before
        arm = arm_of(sweep, record.arm)
        values = {name: params[name] for name in arm.search}
        if isinstance(sweep.scheduler, Pbt):
            own = member_parts(sweep.scheduler, arm, values, [{"epoch": 0, "params": values}])
        else:
            own = arm_parts(arm, values)
        return (*before, *own)


def recorded_stages(
    record: TrialRecord, params: Mapping[str, Any], planned: Planned | None, store: Store
) -> Stages:
    """Return all parameters of a trial's stages, by label, in the order of the chain where that is known.

    Args:
        record: the trial.
        params: what it was begun with; a population's change on the way.
        planned: its study; None where that can't be read.
        store: the artefacts.
    """
    said: Stages = {}
    if planned is not None:
        try:
            said = shown_stages(planned.parts(record, params))
        except (WsssError, LookupError, StopIteration):
            said = {}  # an arm that is gone, or of another version
    if record.history:
        return said
    made: Stages = {}
    for label, key in record.keys.items():
        artefact = store.known(key)
        if artefact is not None and artefact.stage != SCORES:
            made[label] = dict(artefact.record["params"])
    return {
        label: _ordered(made.get(label, content), said.get(label, {}))
        for label, content in {**said, **made}.items()
    }


def _ordered(content: dict[str, Any], like: Any) -> dict[str, Any]:
    """Return a mapping with its keys in the order of another's: records are written sorted."""
    if not isinstance(like, Mapping):
        return content
    keys = [*(key for key in like if key in content), *(key for key in content if key not in like)]
    return {
        key: _ordered(content[key], like.get(key)) if isinstance(content[key], dict) else content[key]
        for key in keys
    }
