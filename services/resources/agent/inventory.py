"""What the machine has, as a `NodeSpec`: from psutil, /proc, /sys and statvfs. What can't be found out is left out.

Must not know the log. GPUs are found by `gpus`.
"""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Sequence
from pathlib import Path

import psutil

from events.language.common import ResourceVector
from events.language.hardware import GPUResource, NodeSpec
from services.resources.agent.config import Config


def describe(config: Config, gpus: Sequence[GPUResource] = ()) -> NodeSpec:
    """The node as the agent announces it."""
    labels = {"hostname": config.node, "arch": platform.machine(), "os": platform.system().lower()}
    capacity = ResourceVector(
        cpus=config.cpus or float(len(os.sched_getaffinity(0))),
        memory_bytes=config.memory_bytes or psutil.virtual_memory().total,
        gpus=len(gpus),
        storage_bytes=_free(config.folder),
    )
    return NodeSpec(
        hostname=socket.gethostname(),
        capacity=capacity,
        gpus=tuple(gpus),
        labels={**labels, **config.labels},
        taints=config.taints,
    )


def _free(folder: Path) -> int:
    room = os.statvfs(folder)
    return room.f_bavail * room.f_frsize
