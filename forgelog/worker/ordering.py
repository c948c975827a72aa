"""Orders, from the events that name a worker: with the stage's description, which is in the version of the pipeline."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from events.language.base import Event
from events.language.pipelines.enums import StagePhase
from events.language.pipelines.pipeline import PipelineSpec
from events.language.pipelines.run_events import StageDispatched, StageStopRequested
from events.language.pipelines.stages import StageSpec
from forgelog.worker.framing import Message
from forgelog.worker.starting import Start
from forgelog.worker.working import Order, Stop


class Versions(Protocol):
    """Knows versions of pipelines."""

    async def get(self, pipeline_id: str, version: int) -> PipelineSpec: ...


async def orders(
    start: Start, events: AsyncIterator[Event | None], versions: Versions
) -> AsyncIterator[Order | Stop | None]:
    """What the events order. Those that order nothing are passed over. The version that the worker was started for is
    read first of all: no order of it waits for that."""
    await versions.get(start.spec.pipeline_id, start.spec.pipeline_version)
    async for event in events:
        if event is None:
            yield None
        elif isinstance(event, StageDispatched):
            yield order_of(start, event, await versions.get(event.pipeline_id, event.pipeline_version))
        elif isinstance(event, StageStopRequested):
            yield Stop((event.run_id, event.stage_id, event.attempt), f"the stage was stopped: {event.reason}")


def order_of(start: Start, event: StageDispatched, spec: PipelineSpec) -> Order:
    """The work of a dispatch."""
    stage = next(stage for stage in spec.stages if stage.id == event.stage_id)
    given = event.model_dump(mode="json")
    work: Message = {
        "phase": event.phase.value,
        "run_id": event.run_id,
        "attempt": event.attempt,
        "stage": stage.model_dump(mode="json", exclude_defaults=True),
        "worker": start.spec.model_dump(mode="json"),
        "project": start.project,
        "scratch": str(start.scratch),
        "secrets": str(start.secrets) if start.secrets is not None else None,
        "parameters": given["parameters"],
        "parameter_specs": {
            name: each.model_dump(mode="json", exclude_defaults=True) for name, each in spec.parameters.items()
        },
        "debug": event.debug,
        "interval": [given["interval_start"], given["interval_end"]] if event.interval_start else None,
        "inputs": given["inputs"],
        "topics": given["topics"],
        "streams": given["streams"],
        "files": given["files"],
        "manifest": given["manifest"],
        "quarantine": given["quarantine"],
        "dataset_version": event.dataset_version,
        "first_task": event.first_task,
        "last_task": event.last_task,
        "items": given["items"],
    }
    key = (event.run_id, event.stage_id, event.attempt, _phase(event))
    return Order(key, work, _limit(event, stage), event)


def _phase(event: StageDispatched) -> str:
    return event.phase.value if event.first_task is None else f"{event.phase.value} {event.first_task}"


def _limit(event: StageDispatched, stage: StageSpec) -> float | None:
    """The pipeline's timer ends an attempt, too. This one holds where the platform is away."""
    return stage.timeout_seconds if event.phase is not StagePhase.PUBLISH else None
