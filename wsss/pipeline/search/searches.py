"""A sweep's searches that learn from scores, one an arm: what to try next, and what came of it.

Also the jobs that executors are handed, and those that make first what several trials share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from wsss.config.search import first_values
from wsss.config.tuning import LearningSearcher
from wsss.pipeline.chains.chain import Chain
from wsss.pipeline.events import TrialStatus
from wsss.pipeline.executor import Job
from wsss.pipeline.search.suggest import Suggestions
from wsss.pipeline.search.trials import Branch, Trial
from wsss.store.folder_store import Store
from wsss.store.ledger import TrialRecord


@dataclass
class _Configuration:
    """A configuration that the search proposed, and how its trials, one a seed, have ended."""

    search: Suggestions
    number: int
    trials: int
    scores: dict[str, float] = field(default_factory=dict)
    ended: dict[str, TrialStatus] = field(default_factory=dict)
    rungs: list[tuple[int, float]] = field(default_factory=list)


class Searches:
    """The searches of a sweep's branches; there are none when everything is drawn up front.

    Arms take turns: on a cluster, each then proposes as few configurations as possible before it learns the
    scores of its earlier ones.
    """

    def __init__(self, sweep_branches: Sequence[Branch], records: Mapping[str, TrialRecord]) -> None:
        self._branches = [branch for branch in sweep_branches if branch.learns]
        self._searches: list[Suggestions] = []
        self._asked: dict[str, _Configuration] = {}
        self._turn = 0
        for branch in self._branches:
            options, samples = branch.sweep.searcher, branch.arm.samples
            assert samples is not None
            assert isinstance(options, LearningSearcher)
            search: Suggestions = options.begin(
                branch.arm.search, samples=samples, seed=branch.study.seed, name=branch.configuration(0)
            )
            self._searches.append(search)
            for values in branch.asked(records):
                number = search.restore(values)
                self._remember(branch, search, number)

    @property
    def left(self) -> int:
        """How many trials the searches have still to propose."""
        return sum(
            search.left * _runs(branch) for branch, search in zip(self._branches, self._searches, strict=True)
        )

    def ask(self) -> list[Trial]:
        """Return the trials of the next configuration, one a seed."""
        while not self._searches[self._turn % len(self._searches)].left:
            self._turn += 1
        place = self._turn % len(self._searches)
        self._turn += 1
        branch, search = self._branches[place], self._searches[place]
        number, values = search.ask()
        self._remember(branch, search, number)
        return branch.trials(number, values)

    def ended(
        self,
        trial: Trial,
        status: TrialStatus,
        metrics: Mapping[str, float],
        rungs: Sequence[tuple[int, float]],
    ) -> None:
        """Record how a trial ended; after the last seed of a configuration, report to its search.

        Args:
            trial: one that has ended.
            status: how.
            metrics: its scores by name.
            rungs: (epoch, rung score) of its classifier, oldest first.
        """
        found = self._asked.get(trial.configuration)
        if found is None:
            return
        metric = self._branches[0].sweep.metric or ""
        found.ended[trial.info.id] = status
        if metric in metrics:
            found.scores[trial.info.id] = metrics[metric]
        if status == "stopped":
            found.rungs = list(rungs)
        if len(found.ended) == found.trials:
            given_up = "stopped" in found.ended.values() and len(found.scores) < found.trials
            scores = [found.scores[id] for id in sorted(found.scores)]
            found.search.tell(found.number, scores, found.rungs if given_up else None)

    def shared(self, store: Store) -> list[Job]:
        """Return jobs for what all configurations of an arm have in common, since no search variable
        changes it. Their users stand for all configurations to come."""
        jobs: dict[str, Job] = {}
        for branch in self._branches:
            low = first_values(branch.arm.search)
            high = {name: values.values[-1] for name, values in branch.arm.search.items()}
            for one, other in zip(branch.trials(0, low), branch.trials(1, high), strict=True):
                pair = [Job(trial.info.id, trial.chain, (trial,)) for trial in (one, other)]
                for job in shared_jobs(pair, store):
                    others = jobs[job.id].users if job.id in jobs else ()
                    jobs[job.id] = replace(job, users=(*others, *job.users))
        return list(jobs.values())

    def _remember(self, branch: Branch, search: Suggestions, number: int) -> None:
        self._asked[branch.configuration(number)] = _Configuration(search, number, _runs(branch))


def _runs(branch: Branch) -> int:
    return len(branch.sources) or len(branch.sweep.seeds) or 1


def shared_jobs(jobs: Sequence[Job], store: Store) -> list[Job]:
    """Return a job for every part that two or more of `jobs` lack, scores on the way to it included."""
    pending = {job.id: job.chain.pending(store) for job in jobs}
    lacking: dict[str, list[Job]] = {}
    for job in jobs:
        for node in pending[job.id]:
            lacking.setdefault(node.key, []).append(job)
    shared: dict[str, Job] = {}
    for job in jobs:
        common = [node for node in pending[job.id] if len(lacking[node.key]) > 1]
        if not common or common[-1].key in shared:
            continue
        last = common[-1]
        users = {trial.info.id: trial for user in lacking[last.key] for trial in user.users}
        chain = job.chain if len(common) == len(pending[job.id]) else _scored(job.chain, last.label)
        shared[last.key] = Job(f"shared-{last.key[:8]}", chain, tuple(users.values()))
    return list(shared.values()) if len(shared) < len(jobs) else []


def _scored(chain: Chain, label: str) -> Chain:
    """Return a node, all that it needs, and their scores: the driver may judge trials by them."""
    needed = {node.label for node in chain.upto(label).nodes}
    scores = {n.label for n in chain.nodes if n.is_score and needed.issuperset(n.inputs.values())}
    return Chain(tuple(node for node in chain.nodes if node.label in needed | scores))
