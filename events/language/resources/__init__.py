"""The language of resources: nodes and their inventory, allocations, and the pool as the single writer of capacity.

`hardware` has the models of nodes and devices. The aggregate is the pool.
"""

from __future__ import annotations

from events.language.resources.commands import (
    CordonNode,
    DrainNode,
    EndedTasks,
    HeartbeatNode,
    LabelNode,
    PoolCommand,
    RegisterNode,
    RemoveNode,
    ReportAllocationsEnded,
    TaintNode,
    UncordonNode,
)
from events.language.resources.events import (
    AllocationBound,
    AllocationEvent,
    AllocationRejected,
    AllocationReleased,
    AllocationStopRequested,
    HeldTasks,
    NodeCordoned,
    NodeDrained,
    NodeDraining,
    NodeHoldings,
    NodeLabelled,
    NodeLost,
    NodeRecovered,
    NodeRegistered,
    NodeRemoved,
    NodeTainted,
    NodeUncordoned,
    PoolEvent,
)
from events.language.resources.hardware import NodeRole, NodeStatus
from events.language.resources.models import AllocationStatus, DeviceShare, ReleaseReason, Taint, total

__all__ = [
    "AllocationBound",
    "AllocationEvent",
    "AllocationRejected",
    "AllocationReleased",
    "AllocationStatus",
    "AllocationStopRequested",
    "CordonNode",
    "DeviceShare",
    "DrainNode",
    "EndedTasks",
    "HeartbeatNode",
    "HeldTasks",
    "LabelNode",
    "NodeCordoned",
    "NodeDrained",
    "NodeDraining",
    "NodeHoldings",
    "NodeLabelled",
    "NodeLost",
    "NodeRecovered",
    "NodeRegistered",
    "NodeRemoved",
    "NodeRole",
    "NodeStatus",
    "NodeTainted",
    "NodeUncordoned",
    "PoolCommand",
    "PoolEvent",
    "RegisterNode",
    "ReleaseReason",
    "RemoveNode",
    "ReportAllocationsEnded",
    "Taint",
    "TaintNode",
    "UncordonNode",
    "total",
]
