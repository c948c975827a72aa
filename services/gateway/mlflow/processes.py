"""Which process of a job a run is. Agents give it to MLflow's client as tags (``MLFLOW_RUN_CONTEXT``).

Tags may have been copied from another run. So a run is linked only to a job of its project that has not ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc

from events.process.counts import count_of
from forgelog_pb.jobs.v1.queries_pb2 import GetJobResponse
from services.gateway.forward import Relayed
from services.gateway.mlflow.calls import Calls

JOB, TASK, ATTEMPT = "forgelog.job", "forgelog.task", "forgelog.attempt"

_QUERY = "/forgelog.jobs.v1.JobQueries/GetJob"


async def process_of(calls: Calls, tags: Mapping[str, str]) -> dict[str, Any] | None:
    """The process that a run's tags name; None if they name none that runs. Raises DoorError or Relayed."""
    id = tags.get(JOB, "")
    task, attempt = count_of(tags.get(TASK, "0")), count_of(tags.get(ATTEMPT, "1"))
    if not id or task is None or attempt is None:
        return None
    try:
        job = (await calls.ask_other(_QUERY, GetJobResponse, job_id=id)).job
    except Relayed as error:
        if error.code is grpc.StatusCode.NOT_FOUND:
            return None
        raise
    if job.project != calls.project or job.HasField("ended_at"):
        return None
    return {"job_id": id, "task": task, "attempt": attempt}
