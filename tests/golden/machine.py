"""`python -m tests.golden.machine`: a node's agent as it is, on a machine that is made up.

A recording must not tell its readers about the machine it was made on: its name, addresses, disks, models.
"""

from __future__ import annotations

from typing import Any

from events.language.common import ResourceVector
from events.language.resources.hardware import GPUHealth, GPUResource, NodeSpec
from proto.samples import full
from services.resources.agent import __main__ as process
from services.resources.agent import agent, inventory, membership
from services.resources.agent.config import Config

GPUS = 2


def describe(config: Config, *_: Any) -> NodeSpec:
    """Every field that a node can have, with the samples' values; resources that a few small jobs fill."""
    sample = full(NodeSpec)
    whole = {"mig_supported": False, "mig_enabled": False, "mig_instances": (), "health": GPUHealth.HEALTHY}
    card = full(GPUResource).model_copy(update={"name": "Sample GPU", "memory_bytes": 8 << 30, **whole})
    cards = tuple(
        card.model_copy(update={"index": index, "uuid": f"GPU-{config.node}-{index}"}) for index in range(GPUS)
    )
    capacity = ResourceVector(cpus=4.0, memory_bytes=8 << 30, gpus=GPUS, storage_bytes=64 << 30, network_mbps=10_000)
    return sample.model_copy(
        update={
            "hostname": f"{config.node}.example.org",
            "capacity": capacity,
            "gpus": cards,
            "labels": {"hostname": config.node, **config.labels},
            "taints": config.taints,
        }
    )


def boot_id() -> str:
    return "the-first-boot"


def main() -> None:
    inventory.describe = describe
    agent.boot_id = membership.boot_id = boot_id
    process.main()


if __name__ == "__main__":
    main()
