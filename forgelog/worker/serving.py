"""Puts a worker together: its connection, its executors, its reports."""

from __future__ import annotations

from collections.abc import AsyncIterator

from events.process.tasks import run_beside
from forgelog.client.core import Core
from forgelog.worker import masking, platform
from forgelog.worker.asking import Asking
from forgelog.worker.ordering import orders
from forgelog.worker.printing import Printing
from forgelog.worker.process import Executor, Spares
from forgelog.worker.reporting import Reports
from forgelog.worker.starting import Start
from forgelog.worker.versions import Versions
from forgelog.worker.working import Order, Stop, Worker

_OTHERS = 256 << 20
"""Bytes of a worker and of an executor that waits."""


async def serve(start: Start, output: int) -> None:
    """Work until cancelled, or until the worker's only stage has ended. `output`: what stages print goes there."""
    core = Core(project=start.project)
    printing = Printing(output, start.spec.log_bytes, masking.secrets())

    async def begin() -> Executor:
        return await Executor.start(printing, share_of(start.spec.memory_bytes))

    reports: Reports
    reporter = platform.Reporter(core, lambda command, refusal: reports.heard(command, refusal))
    reports = Reports(start, reporter)
    versions = Versions(core)

    def follow() -> AsyncIterator[Order | Stop | None]:
        return orders(start, platform.orders(core, start.spec.pipeline_id, start.spec.worker), versions)

    asking = Asking(core, start.project, versions)
    worker = Worker(follow, reports, asking.answer, printing, Spares(begin), once=start.spec.once)
    reports.stopping = worker
    try:
        await run_beside(worker.run(), reporter.run())
    finally:
        await core.connection.close()


def share_of(memory_bytes: int) -> int:
    """What an executor may hold of the job's memory: the worker and the spare need some of it, too."""
    return max(memory_bytes // 2, memory_bytes - _OTHERS)
