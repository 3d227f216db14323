"""Population-based training: which members of an arm go on from whose state, and with what parameters.

A member's classifier is a chain of parts, each a classifier that goes on from the one before it. To go
on from another member's state is to have its parts before one's own: the history is in the key, and a
kept trial can be made again from the beginning, with other seeds too.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from wsss.config import Pbt, Scalar, Sweep
from wsss.config.stage import STAGES
from wsss.pipeline.chains.chain import Chain
from wsss.pipeline.search.trials import Branch, Trial, member, population
from wsss.stages.step_metrics import RUNG_SCORE
from wsss.store.folder_store import Store
from wsss.store.ledger import TrialRecord


class Population:
    """A sweep's members, of all arms, as they are trained part by part.

    What a part goes on from follows from the rung scores of the parts before it, all of which are in the
    store. A member that failed is among the worst, and what was decided without it stays: the ledger has
    it as the members' history. A sweep with another scheduler has no members.

    Args:
        sweep: the sweep.
        arms: its arms, as they follow from what is upstream.
        records: the ledger's trials; read anew in every generation.
        store: where the parts are.
    """

    def __init__(
        self, sweep: Sweep, arms: Sequence[Branch], records: Mapping[str, TrialRecord], store: Store
    ) -> None:
        self._arms = arms if isinstance(sweep.scheduler, Pbt) else []
        self._records = records
        self._store = store
        self._members = {arm.label: population(arm, {}) for arm in self._arms}

    @property
    def evolved(self) -> bool:
        """Whether there is a population at all."""
        return bool(self._arms)

    @property
    def members(self) -> list[Trial]:
        """The members as they are now."""
        return [trial for members in self._members.values() for trial in members]

    def generations(self) -> Iterator[list[tuple[Trial, Chain]]]:
        """Iterate over the generations in which something is left to train: (member, chain up to its part).

        The caller makes these chains before it asks for the next generation.
        """
        rounds = max((len(span_labels(trial.chain)) for trial in self.members), default=0)
        for generation in range(rounds):
            if generation:
                self._select(generation)
            undecided = [
                a for a in self._arms if decided_generation(a, self._records, generation + 1) is None
            ]
            parts = []
            for trial in (trial for arm in undecided for trial in self._members[arm.label]):
                spans = span_labels(trial.chain)
                chain = trial.chain.upto(spans[min(generation, len(spans) - 1)])
                if generation < len(spans) and chain.pending(self._store):
                    parts.append((trial, chain))
            if parts:
                yield parts

    def _select(self, generation: int) -> None:
        """Continue every arm's members as an earlier run decided, or else by their scores."""
        for arm in self._arms:
            decided = decided_generation(arm, self._records, generation)
            self._members[arm.label] = decided or next_generation(
                arm, self._members[arm.label], generation, self._store
            )


def span_labels(chain: Chain) -> list[str]:
    """Return the labels of the parts of a chain's last classifier, in order."""
    found: list[str] = []
    for node in reversed(chain.nodes):
        if STAGES[node.stage].judged:
            found.insert(0, node.label)
            if not getattr(node.params, "begin", 0):
                break
    return found


def next_generation(branch: Branch, members: Sequence[Trial], generation: int, store: Store) -> list[Trial]:
    """Return an arm's members as they go on after `generation` parts, by how these parts scored.

    The worst go on from one of the best, with some parameters changed. All else stays. The same scores
    lead to the same members: every draw follows from the study's seed, the arm, the generation and the
    member.

    Args:
        branch: the arm and what it starts from.
        members: as they are.
        generation: how many parts of their classifiers are made.
        store: has the parts' rung scores.
    """
    scheduler = branch.sweep.scheduler
    assert isinstance(scheduler, Pbt)
    epochs = generation * scheduler.interval
    scores = [_score(trial, generation - 1, store) for trial in members]
    ranked = sorted(range(len(members)), key=lambda n: (-scores[n], n))
    best = [n for n in ranked if scores[n] >= 0]
    if len(members) < 2 or not best or generation >= len(span_labels(members[0].chain)):
        return list(members)
    count = max(1, int(len(members) * scheduler.quantile))
    worst = set(ranked[-count:])
    found = []
    for number, trial in enumerate(members):
        drawn = branch.drawn()[number]
        rng = np.random.default_rng([branch.study.seed, zlib.crc32(branch.stem.encode()), generation, number])
        parent, changes = trial, dict(trial.history[-1]["params"])
        if number in worst:
            parent = members[best[int(rng.integers(min(count, len(best))))]]
        if parent is not trial:
            changes = _explored(scheduler, parent.history[-1]["params"], rng)
        line = {"epoch": epochs, "params": changes, "parent": parent.info.id}
        found.append(member(branch, number, drawn, [*parent.history, line]))
    return found


def decided_generation(
    branch: Branch, records: Mapping[str, TrialRecord], generation: int
) -> list[Trial] | None:
    """Return an arm's members as an earlier run decided they continue after `generation` parts; None if no
    run did. The decision stands even if a part that failed then could be made now."""
    found = []
    for number, values in enumerate(branch.drawn()):
        known = records.get(branch.configuration(number))
        if known is None or len(known.history) <= generation:
            return None
        found.append(member(branch, number, values, known.history[: generation + 1]))
    return found


def _score(trial: Trial, generation: int, store: Store) -> float:
    """Return the rung score after a part of a trial's classifier; -1 if it was not made."""
    labels = span_labels(trial.chain)
    artefact = store.known(trial.chain[labels[generation]].key) if generation < len(labels) else None
    history: Sequence[Mapping[str, float]] = artefact.record["history"] if artefact else ()
    return float(history[-1].get(RUNG_SCORE, -1.0)) if history else -1.0


def _explored(scheduler: Pbt, params: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Scalar]:
    """Return parameters of which those that may change are drawn anew, or a step up or down."""
    changed: dict[str, Scalar] = dict(params)
    for name in scheduler.mutate:
        distribution = scheduler.distribution(name)
        low, high = (float(value) for value in distribution.values if not isinstance(value, str))
        if rng.random() < scheduler.resample:
            changed[name] = distribution.draw(rng)
        else:
            factor = scheduler.perturb if rng.random() < 0.5 else 1 / scheduler.perturb
            changed[name] = float(np.clip(float(changed[name]) * factor, low, high))
    return changed
