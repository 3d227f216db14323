"""A chain: stages in order, wired to each other, each with the key of what it will make.

The keys are known before anything runs: a key is the hash of the stage, its version, its resolved parameters,
the keys of its inputs, the fingerprints of the data it reads, and the seed where it matters. So a study
can skip what exists, share what trials have in common, and plan before it runs.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from wsss.config.params.base import Params
from wsss.config.stage import STAGES, scored_as
from wsss.data.view import DataView
from wsss.errors import ConfigError, Problem, nearest
from wsss.files import sha256_json
from wsss.stages.kinds.scoring.scores import SCORES_FILE
from wsss.store.folder_store import Store
from wsss.store.records import say_once

SCORES = "scores"
PICTURES = "pictures"
"""The stage that stands where scores would, when there is nothing to compare with."""
Side = Literal["gpu", "cpu"]
"""Where a part of a trial that has a GPU is made: with it, or beside it without."""


def score_label(label: str) -> str:
    """Return the label of the score of what stands at `label`: "cams.scores"."""
    return f"{label}.{SCORES}"


def scored_label(label: str) -> str:
    """Return the label of what a score compares with masks; empty for the label of anything else.

    Examples:
        >>> scored_label("cams.scores"), scored_label("cams")
        ('cams', '')
    """
    scored, _, last = label.rpartition(".")
    return scored if last == SCORES else ""


@dataclass(frozen=True)
class Part:
    """One entry of an arm's `stages`, with its search variables filled in.

    `label` is its `as:` name (by default the stage's own), `source` its `from:` name or empty.
    """

    stage: str
    label: str
    params: Params
    source: str = ""


@dataclass(frozen=True)
class Node:
    """A stage of a chain. `inputs` maps each kind it needs to the label of the node that makes it."""

    label: str
    stage: str
    params: Params
    inputs: Mapping[str, str]
    key: str
    seed: int

    @property
    def is_score(self) -> bool:
        return self.stage == SCORES

    @property
    def side(self) -> Side:
        """Whether its work is that of a network, which a GPU does where the trial has one."""
        return "gpu" if STAGES[self.stage].placed(self.params).startswith("device") else "cpu"

    def to_json(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "stage": self.stage,
            "params": self.params.model_dump(mode="json"),
            "inputs": dict(self.inputs),
            "key": self.key,
            "seed": self.seed,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Node:
        model = STAGES[value["stage"]].model()
        return Node(**{**value, "params": model.model_validate(value["params"])})


@dataclass(frozen=True)
class Chain:
    """Nodes in an order in which they can be made; labels are unique."""

    nodes: tuple[Node, ...]

    def __getitem__(self, label: str) -> Node:
        return next(node for node in self.nodes if node.label == label)

    def to_json(self) -> list[dict[str, Any]]:
        """Return the chain, keys included, as JSON: what a process on another machine needs."""
        return [node.to_json() for node in self.nodes]

    @staticmethod
    def from_json(nodes: Sequence[Mapping[str, Any]]) -> Chain:
        return Chain(tuple(Node.from_json(node) for node in nodes))

    def upto(self, label: str) -> Chain:
        """Return the part of the chain that `label` needs, itself included."""
        wanted: set[str] = set()
        pending = [label]
        while pending:
            node = self[pending.pop()]
            wanted.add(node.label)
            pending.extend(node.inputs.values())
        return Chain(tuple(node for node in self.nodes if node.label in wanted))

    def cpus_beside(self, label: str, cpus: int) -> int:
        """Return how many of a trial's CPUs are taken beside its GPU, by a node that needs none and by those
        that follow, up to one that needs one: scores count in one process."""
        following = itertools.dropwhile(lambda node: node.label != label, self.nodes)
        beside = itertools.takewhile(lambda node: node.side == "cpu", following)
        return 1 if all(node.is_score for node in beside) else cpus

    def pending(self, store: Store) -> list[Node]:
        """Return the nodes to make, in order.

        A node is made when its artefact was never finished, or when its files were deleted and another
        node to make reads them.
        """
        todo: set[str] = set()
        for node in reversed(self.nodes):
            if self._outdated(node, store):
                store.set_aside(node.key)
            users = [other for other in self.nodes if node.label in other.inputs.values()]
            if any(user.label in todo for user in users):
                missing = not store.has(node.key)
            else:
                known = store.known(node.key)
                missing = known is None or (not known.evicted and not store.has(node.key))
            if missing:
                todo.add(node.label)
        return [node for node in self.nodes if node.label in todo]

    def look_at_scores(self, store: Store) -> None:
        """Read every score that exists. The store sets a changed one aside, and it counts as missing.

        A score whose files are gone counts as missing too, since no run evicts scores.
        """
        for node in self.nodes:
            known = store.known(node.key) if node.is_score else None
            if known is not None and known.evicted:
                say_once(str(known.folder), "lacks its files and is set aside: it is made again")
                store.set_aside(node.key)
            elif known is not None and store.has(node.key):
                store.read(node.key, SCORES_FILE)

    def _outdated(self, node: Node, store: Store) -> bool:
        """Tell whether an artefact was made from other bytes than its inputs have now.

        It happens when an input was made again on other hardware and came out slightly different.
        """
        artefact = store.known(node.key)
        if artefact is None:
            return False
        recorded = artefact.record["inputs"]
        for kind, label in node.inputs.items():
            source = store.known(self[label].key)
            if source is not None and source.digest != recorded.get(kind, {}).get("digest"):
                return True
        return False


def build_chain(parts: Sequence[Part], data: DataView, seed: int) -> Chain:
    """Wire parts to a chain; a scored stage gets a node "<label>.scores", or "<label>.pictures" without masks
    to compare with.

    A stage gets the latest earlier artefact of each kind it needs, or the one its `from` names, and those
    that it mentions by name. Later parts with a label already taken (the same stage in a later sweep) replace
    the earlier one as "the latest", under the label with a number added. Raises `ConfigError` for a stage
    without its input, or with one that it can't read.

    Args:
        parts: the stages in their order, each with its parameters.
        data: the images, whose digests are part of keys.
        seed: of the trial; part of the keys of stages whose result depends on it.
    """
    wiring = _Wiring(data, seed)
    for part in parts:
        wiring.add(part)
    return Chain(tuple(wiring.nodes.values()))


class _Wiring:
    """The nodes of a chain so far, by label, and what is known of each."""

    def __init__(self, data: DataView, seed: int) -> None:
        self._data = data
        self._seed = seed
        self.nodes: dict[str, Node] = {}
        self._kinds: dict[str, str] = {}
        """Label → the kind of artefact that is made there."""
        self._latest: dict[str, str] = {}
        """Kind of artefact → the label where the latest is made."""
        self._by_name: dict[str, str] = {}
        """A stage's name in its study → the label of its latest node."""
        self._drawn: dict[str, int] = {}
        """Label → the number of masks that were drawn to learn from, there or on the way to it."""

    def add(self, part: Part) -> None:
        """Add a stage, and the node that scores or draws what it makes."""
        label = unique_label(part.label, self.nodes)
        kind = STAGES[part.stage]
        params = kind.settled(part.params)
        inputs = {**self._read(part, params), **self._mentioned(part, params)}
        kind.check_sources(params, {name: self.nodes[source].params for name, source in inputs.items()})
        self._append(label, part.stage, params, inputs)
        self._by_name[part.label] = label
        made = self._kinds[label] = kind.makes(params)
        self._latest[made] = label
        drawn = max([kind.drawn_masks(params), *(self._drawn[source] for source in inputs.values())])
        self._drawn[label] = drawn
        if scored_as(made) is None:
            return
        if not self._data.has_masks:
            pictures = STAGES[PICTURES].model().model_validate({"kind": made})
            self._append(f"{label}.{PICTURES}", PICTURES, pictures, {made: label})
            return
        what: dict[str, Any] = {"kind": made}
        if kind.leaves_out_select(part.params):
            what["reported_only"] = True
        elif drawn and not self._data.teach:
            what |= {"drawn": drawn, "draw": self._seed}
        self._append(score_label(label), SCORES, STAGES[SCORES].model().model_validate(what), {made: label})

    def _read(self, part: Part, params: Params) -> dict[str, str]:
        """Return kind → label of what a stage reads. Raises `ConfigError` for what no stage makes."""
        inputs = {}
        for needed in STAGES[part.stage].reads(params):
            source = part.source if self._kinds.get(part.source) == needed else ""
            found = source or self._latest.get(needed)
            if found is None:
                raise ConfigError(Problem(part.label, f"needs {needed!r}, which no earlier stage makes"))
            inputs[needed] = found
        return inputs

    def _mentioned(self, part: Part, params: Params) -> dict[str, str]:
        """Return name → label of the earlier stages that parameters name. Raises `ConfigError` for one that
        isn't there, or makes what the stage can't read."""
        kind, inputs = STAGES[part.stage], {}
        for mention in kind.mentions(dict(iter(params))):  # `dict(params)` would call a field named `keys`
            found = self._by_name.get(mention.name) or self._latest.get(mention.name)
            if found is None or self._kinds[found] not in (mention.kinds or kind.given):
                wrong = f"names {{{mention.text}}}, but no earlier stage of that name makes what it can read"
                raise ConfigError(Problem(part.label, wrong, nearest(mention.name, self._by_name)))
            inputs[mention.name] = found
        return inputs

    def _append(self, label: str, stage: str, params: Params, inputs: Mapping[str, str]) -> None:
        """Add a node with its key."""
        kind, seed = STAGES[stage], self._seed
        sources = {name: self.nodes[source] for name, source in inputs.items()}
        revision = kind.revision(params, {name: source.params for name, source in sources.items()})
        consumed = dict(kind.consumes(params, self._data))
        values = params.content()
        if consumed.get("weights", "").startswith("sha256:"):
            values["weights"] = "file"  # its bytes count, not where it lies
        content = {
            "stage": stage,
            "version": kind.version,
            **({"revision": revision} if revision else {}),
            "params": values,
            "inputs": {name: source.key for name, source in sources.items()},
            "data": consumed,
            "seed": seed if kind.seeded else None,
        }
        self.nodes[label] = Node(label, stage, params, dict(inputs), sha256_json(content), seed)


def unique_label(label: str, taken: Container[str]) -> str:
    """Return a label that isn't taken: this one, or with the first number from 2 on behind it."""
    number, name = 1, label
    while name in taken:
        number += 1
        name = f"{label}{number}"
    return name
