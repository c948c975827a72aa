"""Affinity between jobs: counts which labels of jobs are present in which part of the cluster.

A part is the set of nodes with one value of a label (`topology_key`); with ``hostname``, each node is a part, even
without such a label. A pair of labels and key is counted once a rule needs it, so clusters without rules have no cost.
Required anti-affinity works in both directions, as in Kubernetes: if A keeps away from B, B keeps away from A.
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
        """Incremented when a job that a rule concerns was added: nodes may have become better, or excluded."""
        self.shrunk = 0
        """Incremented when such a job left, or nodes' labels changed: excluded nodes may be allowed."""

    def ask(self, rules: Iterable[JobAffinity], nodes: Iterable[Node]) -> None:
        """Start counting the pairs that these rules need."""
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
        """Stop counting the pairs that these rules do not need."""
        wanted = {pair_of(rule) for rule in rules}
        for pair in [pair for pair in self.asked if pair not in wanted]:
            del self.asked[pair]

    def rebuild(self, nodes: Iterable[Node]) -> None:
        """Recount after nodes' labels have changed."""
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
        """Add `by` to the counts of a hold. Returns whether a counted rule, or one of its own, concerns the hold."""
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
        """Whether another job's rules exclude a job with these labels from some part."""
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
                # The first of several jobs with mutual affinity may go anywhere.
                return f"no {_show(wanted)} on the same {key}"
        return ""

    def liking(self, rules: Iterable[JobAffinity], node: Node) -> float:
        """The number of preferences about other jobs that a node satisfies."""
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
