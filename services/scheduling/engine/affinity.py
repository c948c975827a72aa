"""Rules about jobs near jobs: which labels are present in which part of the cluster.

A part is every node with one value of a label (`topology_key`; ``hostname`` makes each node a part, whether or not it
has such a label). Counting starts for a pair of labels and key when a rule first asks for it, so clusters without rules
pay nothing.
Required anti-affinity works both ways, as in Kubernetes: who keeps away from a job is also kept away from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from events.language.jobs.spec import JobAffinity
from services.scheduling.engine.node import Hold, Node

HOSTNAME = "hostname"

Labels = frozenset[tuple[str, str]]
Pair = tuple[Labels, str]
"""Labels that a job must have, and the key of the parts."""


def pair_of(rule: JobAffinity) -> Pair:
    return frozenset(rule.labels.items()), rule.topology_key


def part(node: Node, key: str) -> str | None:
    """The part of the cluster a node is in; None if it is in none."""
    return node.labels.get(key, node.id if key == HOSTNAME else None)


class Presence:
    """Counts of jobs by labels and part. Rebuilt when nodes' labels change."""

    def __init__(self) -> None:
        self.asked: dict[Pair, Counter[str]] = {}
        """Holds whose jobs have the labels, by part."""
        self.kept_away: dict[Pair, Counter[str]] = {}
        """Holds whose jobs keep such labels away, by part."""
        self.grown = 0
        """Raised when a job that a rule speaks of was added: places may have become better, or closed."""
        self.shrunk = 0
        """Raised when one left, or nodes' labels changed: closed places may be open."""

    def ask(self, rules: Iterable[JobAffinity], nodes: Iterable[Node]) -> None:
        """Count what these rules need, from now on."""
        missing = {pair: None for pair in map(pair_of, rules) if pair not in self.asked}  # each once, in order
        if not missing:
            return
        for pair in missing:
            self.asked[pair] = Counter()
        for node in nodes:
            for hold in node.holds.values():
                for pair in missing:
                    self._count(self.asked, pair, hold, node, 1)

    def keep_only(self, rules: Iterable[JobAffinity]) -> None:
        """Stop counting what no other rules than these need."""
        wanted = {pair_of(rule) for rule in rules}
        for pair in [pair for pair in self.asked if pair not in wanted]:
            del self.asked[pair]

    def rebuild(self, nodes: Iterable[Node]) -> None:
        """Count anew, after nodes' labels have changed."""
        self.shrunk += 1
        for counter in self.asked.values():
            counter.clear()
        self.kept_away.clear()
        for node in nodes:
            for hold in node.holds.values():
                self._change(hold, node, 1)

    def add(self, hold: Hold, node: Node) -> None:
        self.grown += self._change(hold, node, 1)

    def remove(self, hold: Hold, node: Node) -> None:
        self.shrunk += self._change(hold, node, -1)

    def _change(self, hold: Hold, node: Node, by: int) -> bool:
        """Whether any rule that is counted, or of its own, concerns the hold."""
        changed = False
        for pair in self.asked:
            changed |= self._count(self.asked, pair, hold, node, by)
        for rule in hold.affinity:
            if rule.anti and rule.required and (place := part(node, rule.topology_key)) is not None:
                counter = self.kept_away.setdefault(pair_of(rule), Counter())
                counter[place] += by
                if counter[place] <= 0:
                    del counter[place]
                    if not counter:
                        del self.kept_away[pair_of(rule)]
                changed = True
        return changed

    @staticmethod
    def _count(counters: dict[Pair, Counter[str]], pair: Pair, hold: Hold, node: Node, by: int) -> bool:
        labels, key = pair
        place = part(node, key)
        if place is None or not labels <= hold.labels.items():
            return False
        counter = counters[pair]
        counter[place] += by
        if counter[place] <= 0:
            del counter[place]
        return True

    def concerns(self, labels: Mapping[str, str]) -> bool:
        """Whether a job with these labels is kept away from somewhere."""
        return bool(self.kept_away) and any(wanted <= labels.items() for wanted, _ in self.kept_away)

    def objection(self, rules: Iterable[JobAffinity], labels: Mapping[str, str], node: Node) -> str:
        """Why a job with these labels and rules may not go onto a node, for people; empty when it may."""
        for (wanted, key), places in self.kept_away.items():
            if wanted <= labels.items() and (place := part(node, key)) is not None and places.get(place):
                return f"a job on the same {key} keeps away from {_show(wanted)}"
        for rule in rules:
            if not rule.required:
                continue
            wanted, key = pair_of(rule)
            place = part(node, key)
            places = self.asked.get((wanted, key), Counter())
            if rule.anti:
                if place is not None and places.get(place):
                    return f"{_show(wanted)} is on the same {key}"
            elif place is None:
                return f"node has no label {key}"
            elif not places.get(place) and not (not places and wanted <= labels.items()):
                # The first of jobs that want to be together may go anywhere.
                return f"no {_show(wanted)} on the same {key}"
        return ""

    def liking(self, rules: Iterable[JobAffinity], node: Node) -> float:
        """How many preferences about other jobs hold on a node."""
        score = 0.0
        for rule in rules:
            if rule.required:
                continue
            place = part(node, rule.topology_key)
            near = place is not None and bool(self.asked.get(pair_of(rule), Counter()).get(place))
            score += float(near != rule.anti)
        return score


def _show(labels: Labels) -> str:
    return "job " + ",".join(f"{key}={value}" for key, value in sorted(labels))
