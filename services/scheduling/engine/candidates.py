"""For one shape: a heap of the nodes that can take a task, best first, updated from the cluster's change log.

Removal is lazy: an entry whose node has changed since is recognised by its version, and dropped at the top of the heap.
"""

from __future__ import annotations

import heapq
from typing import Protocol

from events.language.resources.hardware import NodeStatus
from services.scheduling.engine import shape as shapes
from services.scheduling.engine.affinity import Presence
from services.scheduling.engine.node import Node
from services.scheduling.engine.shape import Wish


class ChangeLog(Protocol):
    """The part of the cluster that candidates read."""

    nodes: dict[str, Node]
    presence: Presence
    changes: list[Node]
    """Nodes in the order they changed; the first has number `dropped`."""
    dropped: int


class Candidates:
    """A heap of ``(-score, order, version, node)``."""

    def __init__(self, cluster: ChangeLog, wish: Wish) -> None:
        self.wish = wish
        self._request = wish.shape.request
        self._plain = not wish.shape.scheduling
        """Whether every ready node without taints is suitable."""
        self._near = bool(wish.affinity)
        self.used = 0
        """Sequence number of its last use, over all shapes."""
        self._cluster = cluster
        self._heap: list[tuple[float, int, int, Node]] = []
        self._read = -1
        """Number of the next change to read; -1 before the first use."""
        self._kind: dict[str, tuple[int, float | None]] = {}
        """Node → the version of its properties that was examined, and its preference; None if it is unsuitable."""
        self._grown = self._shrunk = -1
        """The counters of `Presence` at the last full examination."""
        self._drawn = any(not (rule.required and rule.anti) for rule in wish.affinity)
        """Whether the arrival of another job can make a node better, not only worse."""

    def best(self) -> tuple[Node, float] | None:
        """The best node that can take a task now, and its score."""
        self._mend()
        heap, presence, wish = self._heap, self._cluster.presence, self.wish
        about_jobs = self._near or presence.concerns(wish.labels)
        while heap:
            negative, _, version, node = heap[0]
            if node.version == version and not (about_jobs and presence.objection(wish.affinity, wish.labels, node)):
                return node, -negative
            heapq.heappop(heap)
        return None

    def _mend(self) -> None:
        cluster, presence = self._cluster, self._cluster.presence
        if (
            self._read < cluster.dropped
            or len(self._heap) > 4 * len(cluster.nodes) + 64
            or self._shrunk != presence.shrunk
            or (self._drawn and self._grown != presence.grown)
        ):
            self._start()
            return
        changes, start = cluster.changes, self._read - cluster.dropped
        for node in changes[start:] if len(changes) - start < 2 else dict.fromkeys(changes[start:]):
            if (entry := self._entry(node)) is not None:
                heapq.heappush(self._heap, entry)
        self._read = cluster.dropped + len(changes)

    def _start(self) -> None:
        """Examine every node."""
        cluster = self._cluster
        entries = (self._entry(node) for node in cluster.nodes.values())
        self._heap = [entry for entry in entries if entry is not None]
        heapq.heapify(self._heap)
        self._read = cluster.dropped + len(cluster.changes)
        self._grown, self._shrunk = cluster.presence.grown, cluster.presence.shrunk

    def _entry(self, node: Node) -> tuple[float, int, int, Node] | None:
        if self._plain and not node.taints:
            if node.status is not NodeStatus.READY:
                return None
            liked: float | None = 0.0
        else:
            judged = self._kind.get(node.id)
            if judged is None or judged[0] != node.standing:
                liked = None if shapes.barrier(self.wish, node) else shapes.liking(self.wish, node)
                judged = self._kind[node.id] = (node.standing, liked)
            liked = judged[1]
        if liked is None or not shapes.room(self.wish, node):
            return None
        if self._near:
            liked += self._cluster.presence.liking(self.wish.affinity, node)
        return node.left_over(self._request) - 1.0 - liked, node.order, node.version, node
