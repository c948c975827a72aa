"""Which GPUs of a node a task may have, and which it gets. Knows devices and requests, not who holds what else.

The lowest free indices of one type are taken; GPU models are mixed within a task only when no single model has enough,
so that whether a task fits is just a matter of counting devices (scheduling counts the same way).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from events.language.jobs.spec import JobResources
from events.language.resources.hardware import GPUHealth, GPUResource


def usable(gpu: GPUResource, resources: JobResources) -> bool:
    """Whether a GPU is of the type and memory a task asks for, and not known to be broken."""
    if gpu.health is GPUHealth.UNHEALTHY:
        return False
    return resources.gpu_type.casefold() in gpu.name.casefold() and gpu.memory_bytes >= resources.gpu_memory_bytes


def pick(
    gpus: Sequence[GPUResource], held: Collection[int], resources: JobResources, tasks: int
) -> list[tuple[int, ...]] | None:
    """Indices for each of so many tasks; None if there are not enough devices."""
    need = resources.gpus
    by_type: dict[str, list[int]] = {}
    for gpu in sorted(gpus, key=lambda gpu: gpu.index):
        if gpu.index not in held and usable(gpu, resources):
            by_type.setdefault(gpu.name, []).append(gpu.index)
    if sum(map(len, by_type.values())) < need * tasks:
        return None
    picked: list[tuple[int, ...]] = []
    rest: list[int] = []
    for indices in by_type.values():
        whole = min(len(indices) // need, tasks - len(picked)) if need else tasks - len(picked)
        picked += [tuple(indices[i * need : (i + 1) * need]) for i in range(whole)]
        rest += indices[whole * need :]
    while len(picked) < tasks:
        picked.append(tuple(sorted(rest[:need])))
        del rest[:need]
    return picked


def describe(resources: JobResources, tasks: int) -> str:
    """The GPUs that tasks ask for, for people: ``2 H200 gpus with 80 GiB each for each of 3 tasks``."""
    kind = f" {resources.gpu_type}" if resources.gpu_type else ""
    memory = f" with {resources.gpu_memory_bytes / (1 << 30):g} GiB each" if resources.gpu_memory_bytes else ""
    times = f" for each of {tasks} tasks" if tasks > 1 else ""
    return f"{resources.gpus}{kind} gpus{memory}{times}"
