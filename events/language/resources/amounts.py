"""Amounts of the resource kinds that are counted, in whole numbers: taking and giving back leaves no rest.

CPUs are counted in billionths. GPUs are counted here too; which device goes to whom is in
`events.language.resources.devices`.
Scheduling, which proposes, and resources, which decides, count alike, so this is part of the language.
"""

from __future__ import annotations

from dataclasses import dataclass

from events.language.common import ResourceVector
from events.language.jobs.spec import JobResources

NANO = 1_000_000_000

CPU_TOLERANCE = 1_000
"""Billionths of a CPU by which requests may exceed a capacity: fractions like 1/3 add up to a little more than 1."""


@dataclass(frozen=True, slots=True)
class Amounts:
    cpus: int = 0
    """Billionths of a logical CPU."""
    memory: int = 0
    """Bytes."""
    gpus: int = 0
    storage: int = 0
    """Bytes."""
    network: int = 0
    """Megabit per second."""

    def plus(self, other: Amounts) -> Amounts:
        return Amounts(
            self.cpus + other.cpus,
            self.memory + other.memory,
            self.gpus + other.gpus,
            self.storage + other.storage,
            self.network + other.network,
        )

    def minus(self, other: Amounts) -> Amounts:
        return self.plus(other.times(-1))

    def times(self, factor: int) -> Amounts:
        return Amounts(
            self.cpus * factor,
            self.memory * factor,
            self.gpus * factor,
            self.storage * factor,
            self.network * factor,
        )

    def shortage(self, wanted: Amounts) -> str:
        """Why `wanted` does not fit into these free amounts, for people; empty when it does."""
        if wanted.cpus > max(0, self.cpus) + CPU_TOLERANCE:
            return f"needs {_cpus(wanted.cpus)} cpus, {_cpus(self.cpus)} are free"
        if wanted.memory > max(0, self.memory):
            return f"needs {_bytes(wanted.memory)} of memory, {_bytes(self.memory)} are free"
        if wanted.gpus > max(0, self.gpus):
            return f"needs {wanted.gpus} gpus, {max(0, self.gpus)} are free"
        if wanted.storage > max(0, self.storage):
            return f"needs {_bytes(wanted.storage)} of storage, {_bytes(self.storage)} are free"
        if wanted.network > max(0, self.network):
            return f"needs {wanted.network} Mbit/s of network, {max(0, self.network)} are free"
        return ""


def of_vector(vector: ResourceVector) -> Amounts:
    """A node's capacity."""
    return Amounts(
        round(vector.cpus * NANO), vector.memory_bytes, vector.gpus, vector.storage_bytes, vector.network_mbps
    )


def of_request(resources: JobResources) -> Amounts:
    """What one task takes."""
    return Amounts(
        round(resources.cpus * NANO),
        resources.memory_bytes,
        resources.gpus,
        resources.storage_bytes,
        resources.network_mbps,
    )


def _cpus(nano: int) -> str:
    return f"{max(0, nano) / NANO:.9f}".rstrip("0").rstrip(".")


def _bytes(amount: int) -> str:
    amount = max(0, amount)
    for unit, size in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if amount >= size:
            return f"{amount / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{amount} bytes"
