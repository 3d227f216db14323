"""Searching with Optuna: the driver asks for one configuration at a time and tells how it fared.

A question depends on the seed, on the number of questions before it and on the scores that the driver has
reported by then, and on nothing else: no generator lives from one question to the next. A search that the
driver builds again from the ledger therefore goes on where it was.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from wsss.config import Distribution, OptunaSearch
from wsss.pipeline.search.sampling import Values

optuna.logging.set_verbosity(optuna.logging.ERROR)


class Suggestions:
    """The search of one arm (after one upstream configuration). Configurations are numbered from 0."""

    def __init__(
        self, search: dict[str, Distribution], options: OptunaSearch, *, samples: int, seed: int, name: str
    ) -> None:
        self._search = search
        self._options = options
        self._samples = samples
        self._seed = [seed, int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")]
        self._space = {key: _distribution(values) for key, values in search.items()}
        self._study = optuna.create_study(direction="maximize", pruner=optuna.pruners.NopPruner())
        self._asked = 0

    @property
    def left(self) -> int:
        """How many configurations the search may still propose."""
        return max(0, self._samples - self._asked)

    def ask(self) -> tuple[int, Values]:
        """Return the next configuration and its number."""
        self._study.sampler = self._sampler(self._asked)
        trial = self._study.ask(self._space)
        self._asked += 1
        return trial.number, {key: self._value(key, trial.params[key]) for key in self._search}

    def restore(self, values: Values) -> int:
        """Add a configuration that an earlier run proposed; return its number."""
        params = {key: self._inner(key, values[key]) for key in self._search}
        self._study.add_trial(
            create_trial(state=TrialState.RUNNING, params=params, distributions=self._space)
        )
        self._asked += 1
        return self._asked - 1

    def tell(
        self, number: int, scores: Sequence[float], rungs: Sequence[tuple[int, float]] | None = None
    ) -> None:
        """Say how a configuration fared: by its scores, one a seed, the higher the better.

        One that was stopped has its rungs instead: (epoch, score), none if it ended otherwise. One
        that failed has neither.
        """
        if rungs is not None:
            # What it came to before it was stopped ranks it among the others that were.
            handle = optuna.trial.Trial(self._study, self._study.get_trials(deepcopy=False)[number]._trial_id)
            for epoch, score in rungs:
                handle.report(score, epoch)
            self._study.tell(number, state=TrialState.PRUNED)
        elif scores:
            self._study.tell(number, sum(scores) / len(scores))
        else:
            self._study.tell(number, state=TrialState.FAIL)

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """Return the sampler of one question, seeded for it alone."""
        digest = hashlib.sha256(repr([*self._seed, number]).encode()).digest()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.samplers.TPESampler(
                seed=int.from_bytes(digest[:4], "big"),
                n_startup_trials=self._options.startup,
                n_ei_candidates=self._options.candidates,
                multivariate=self._options.multivariate,
                constant_liar=True,  # trials that still run keep others away from where they are
            )

    def _value(self, key: str, inner: Any) -> Any:
        values = self._search[key]
        return values.values[inner] if values.kind == "choice" else inner

    def _inner(self, key: str, value: Any) -> Any:
        values = self._search[key]
        if values.kind != "choice":
            return value
        return [repr(choice) for choice in values.values].index(repr(value))


def _distribution(values: Distribution) -> BaseDistribution:
    if values.kind == "choice":
        # By place, not by value: to Optuna 1, 1.0 and true are one.
        return CategoricalDistribution(tuple(range(len(values.values))))
    low, high = (float(value) for value in values.values if not isinstance(value, str))
    if values.kind == "randint":
        return IntDistribution(int(low), int(high))
    return FloatDistribution(low, high, log=values.kind == "loguniform")
