"""The nodes, the holds on each, and a log of changed nodes, from which shapes update their heaps."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import replace

from events.language.resources import Taint
from events.language.resources.amounts import Amounts
from events.language.resources.hardware import GPUResource, NodeStatus
from events.language.task_ranges import Tasks, both, minus
from services.scheduling.engine.affinity import Presence
from services.scheduling.engine.candidates import Candidates
from services.scheduling.engine.node import Hold, Node, Vector
from services.scheduling.engine.shape import Shape, Wish

_LEAST_LOG = 4096

MOST_SPARE = 64
"""Most heaps that are kept for shapes without waiting tasks: the next job is likely like the last ones."""

_SPARE_ENTRIES = 200_000
"""About the most entries of all those heaps."""


class Cluster:
    """Mutable. The result does not depend on the order in which nodes and holds are added."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.holds: dict[str, Hold] = {}
        self.homeless: dict[str, dict[str, Hold]] = {}
        """Node that does not exist (yet, or any more) → the holds on it."""
        self.presence = Presence()
        self.changes: list[Node] = []
        """Nodes in the order they changed; the first has number `dropped`."""
        self.dropped = 0
        self.version = 0
        """Raised by every change."""
        self._recount = False
        """Whether nodes' labels have changed since `presence` was counted."""
        self._order = 0
        self._shapes: dict[Shape, Candidates] = {}
        self._uses = 0

    # Nodes

    def node(self, id: str) -> Node:
        """The node, created if it does not exist."""
        found = self.nodes.get(id)
        if found is None:
            self._order += 1
            found = self.nodes[id] = Node(id, self._order)
            found.holds = self.homeless.pop(id, {})
        return found

    def equip(self, node: Node, capacity: Amounts, gpus: Iterable[GPUResource]) -> None:
        node.equip(capacity, tuple(gpus))
        self._stands_anew(node)

    def stand(
        self,
        node: Node,
        *,
        status: NodeStatus | None = None,
        labels: dict[str, str] | None = None,
        taints: tuple[Taint, ...] | None = None,
    ) -> None:
        """Set the properties that decide whether a node is suitable."""
        if status is not None:
            node.status = status
        if taints is not None:
            node.taints = taints
        if labels is not None:
            node.labels = labels
        self._stands_anew(node)

    def _stands_anew(self, node: Node) -> None:
        node.passed_over = False
        self._recount = True
        self.touch(node)
        node.standing = node.version

    def remove(self, id: str) -> None:
        """Remove a node. The holds on it stay until they are released."""
        node = self.nodes.pop(id, None)
        if node is not None:
            if node.holds:
                self.homeless[id] = node.holds
            node.status = NodeStatus.TERMINATING
            self._stands_anew(node)

    def pass_over(self, node: Node) -> None:
        """Skip a node until something about it changes."""
        self.touch(node)
        node.passed_over = True

    def try_again(self, node: Node) -> None:
        """End of `pass_over`."""
        node.passed_over = False
        self.touch(node)

    def touch(self, node: Node) -> None:
        """Note that a node has changed."""
        self.version += 1
        node.version = self.version
        self.changes.append(node)
        if len(self.changes) > max(_LEAST_LOG, 4 * len(self.nodes)):
            half = len(self.changes) // 2
            del self.changes[:half]
            self.dropped += half

    # Holds

    def hold(self, hold: Hold) -> None:
        """Add a hold on a node. An existing hold of the same id (a plan's own guess) stays as it is."""
        if hold.id in self.holds:
            return
        self.holds[hold.id] = hold
        node = self.nodes.get(hold.node_id)
        if node is None:
            self.homeless.setdefault(hold.node_id, {})[hold.id] = hold
            return
        node.add(hold)
        self.presence.add(hold, node)
        self.touch(node)

    def confirm(self, id: str, gpus: dict[int, tuple[int, ...]]) -> None:
        """Note that a hold is bound, with these devices."""
        hold = self.holds[id]
        hold.bound = True
        if hold.gpus == gpus:
            return
        hold.gpus = gpus
        node = self.nodes.get(hold.node_id)
        if node is not None:
            node.recount()
            self.touch(node)

    def release(self, id: str, tasks: Tasks | None = None) -> None:
        """Release the share of these tasks of a hold; None for all tasks."""
        hold = self.holds.get(id)
        if hold is None:
            return
        gone = hold.tasks if tasks is None else both(hold.tasks, tasks)
        rest = minus(hold.tasks, gone)
        if not rest:
            del self.holds[id]
        node = self.nodes.get(hold.node_id)
        if node is None:
            hold.tasks = rest
            if not rest:
                others = self.homeless[hold.node_id]
                del others[id]
                if not others:
                    del self.homeless[hold.node_id]
            return
        if not rest:
            self.presence.remove(hold, node)
        node.remove(hold, gone, rest)
        node.passed_over = False
        self.touch(node)

    # Shapes

    def refresh(self) -> None:
        """Update `presence`. Called before candidates are used."""
        if self._recount:
            self._recount = False
            self.presence.rebuild(self.nodes.values())

    def candidates(self, wish: Wish) -> Candidates:
        """The nodes that can take such tasks, best first, without regard to other jobs' rules about these labels."""
        found = self._shapes.get(wish.shape)
        if found is None:
            self.presence.ask(wish.affinity, self.nodes.values())
            if not wish.shape.job_id:
                wish = replace(wish, labels={})  # jobs with other labels share these candidates
            found = self._shapes[wish.shape] = Candidates(self, wish)
        self._uses += 1
        found.used = self._uses
        return found

    @property
    def shapes(self) -> int:
        """The number of shapes with a heap."""
        return len(self._shapes)

    def requests(self) -> list[Vector]:
        """The requests of these shapes."""
        return [shape.request for shape in self._shapes]

    def trim(self, wanted: Container[Shape]) -> None:
        """Drop the heaps of shapes that are not in `wanted`, except for the most recently used shared ones."""
        idle = [(found.used, shape) for shape, found in self._shapes.items() if shape not in wanted]
        gone = [shape for _, shape in idle if shape.job_id or shape.exclusive_job]
        spare = sorted((used, shape) for used, shape in idle if not (shape.job_id or shape.exclusive_job))
        keep = max(1, min(MOST_SPARE, _SPARE_ENTRIES // max(1, len(self.nodes))))
        gone += [shape for _, shape in spare[: max(0, len(spare) - keep)]]
        for shape in gone:
            del self._shapes[shape]
        if gone:
            self.presence.keep_only(rule for found in self._shapes.values() for rule in found.wish.affinity)
