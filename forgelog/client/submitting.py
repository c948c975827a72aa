"""Described jobs on their way to the platform: their folders, ids as their project writes them, queues that exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forgelog.client.bundles import uploaded
from forgelog.client.core import Core
from forgelog.client.plain import Answer
from forgelog.client.specs import in_callers_folder
from forgelog.errors import InvalidInput, Problem
from forgelog_pb.scheduling.v1 import queries_pb2 as pb
from forgelog_pb.scheduling.v1 import queries_pb2_grpc as rpc

if TYPE_CHECKING:
    from events.language.jobs.spec import JobSpec
    from forgelog.manifest.jobs import ManifestJob


class Submitter:
    """Submits jobs of one client."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._queues = {"default"}
        """Queues that are known to exist."""

    async def submit(
        self, jobs: list[ManifestJob], in_current_folder: bool, timeout: float | None, id: str = ""
    ) -> list[tuple[str, str]]:
        """Submit these jobs, dependencies first, and return the id and the name of each by their `index`.

        `id` is the command's, of a single job. Raises `InvalidInput` for a folder that can't be uploaded and for a
        queue that does not exist, and what `AsyncClient.publish` raises; jobs before that one are submitted.
        """
        if in_current_folder:
            jobs = in_callers_folder(jobs)
        jobs = await uploaded(self._core, jobs)
        ids: dict[int, str] = {}
        for job in jobs:
            ids[job.index] = (await self._send(job.job_id, job.spec(ids), id, timeout)).subject
        names = {job.index: job.name for job in jobs}
        return [(ids[index], names[index]) for index in sorted(ids)]

    async def _send(self, job_id: str, spec: JobSpec, id: str, timeout: float | None) -> Answer:
        from events.language.common import DEFAULT_PROJECT
        from events.language.jobs import SubmitJob
        from events.log.ids import id_ending

        ending = id_ending(self._core.project or DEFAULT_PROJECT)
        if job_id and not job_id.endswith(ending):
            job_id += ending
        if spec.queue not in self._queues:
            await self._check_queue(spec.queue)
        return await self._core.publish(SubmitJob(job_id=job_id, spec=spec), id=id, timeout=timeout)

    async def _check_queue(self, name: str) -> None:
        """Refuse a queue that does not exist, with those that do: scheduling itself would cancel the job, later.

        Raises `InvalidInput`.
        """
        request = pb.ListQueuesRequest(options=self._core.options("scheduling", None))
        answer = await self._core.ask(rpc.SchedulingQueriesStub(self._core.channel).ListQueues, request, "queues")
        self._queues.update(item.queue for item in answer.queues)
        if name not in self._queues:
            hint = f"'forgelog queue create {name}' makes it"
            known = ", ".join(item.queue for item in answer.queues)
            raise InvalidInput(f"there is no queue {name!r}; there are: {known}", [Problem("queue", "unknown", hint)])
