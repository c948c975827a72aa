"""What a node's registration must be like, and what it is answered with. Pure."""

from __future__ import annotations

from events.language import task_ranges as sets
from events.language.common import ErrorCode, FieldError, Refused
from events.language.resources import HeldTasks, NodeHoldings, RegisterNode
from services.resources.state import Node, Pool


def holdings(pool: Pool, node: Node | None) -> NodeHoldings:
    """What runs on a node, as far as the pool knows; nothing on a new one (None)."""
    held = tuple(
        HeldTasks(
            allocation_id=allocation.id,
            job_id=allocation.job_id,
            project=allocation.project,
            tasks=sets.text(allocation.held),
            attempt=allocation.attempt,
        )
        for allocation in (pool.on(node) if node is not None else ())
        if not allocation.orphaned
    )
    return NodeHoldings(allocations=held)


def check_inventory(command: RegisterNode) -> None:
    """Refuses an inventory that names a device twice, or has fewer devices than it offers."""
    gpus = command.spec.gpus
    indices = [gpu.index for gpu in gpus]
    if len(set(indices)) < len(indices):
        twice = sorted({index for index in indices if indices.count(index) > 1})
        raise Refused(
            ErrorCode.INVALID_ARGUMENT,
            f"gpu {', '.join(map(str, twice))} is listed more than once",
            [FieldError(field="spec.gpus", problem=f"has index {twice[0]} more than once", hint="list each once")],
        )
    if command.spec.capacity.gpus > len(gpus):
        raise Refused(
            ErrorCode.INVALID_ARGUMENT,
            f"the node offers {command.spec.capacity.gpus} gpus but lists {len(gpus)}",
            [
                FieldError(
                    field="spec.capacity.gpus",
                    problem=f"is {command.spec.capacity.gpus}, but spec.gpus lists {len(gpus)} devices",
                    hint="list every device, or offer fewer",
                )
            ],
        )
