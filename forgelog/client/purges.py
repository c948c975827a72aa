"""Purging of what is deleted, through the client."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, cast

from forgelog.client.core import Namespace
from forgelog.client.experiments import CONTEXT
from forgelog.client.plain import Answer, plain
from forgelog.client.rows import PurgePlan
from forgelog.errors import InvalidInput
from forgelog_pb.experiments.v1 import purge_queries_pb2 as pb
from forgelog_pb.experiments.v1 import purge_queries_pb2_grpc as rpc

_COMMANDS = {
    "experiment": ("PurgeExperiment", "experiment_id"),
    "run": ("PurgeRun", "run_id"),
    "logged_model": ("PurgeLoggedModel", "model_id"),
}


class AsyncPurges(Namespace):
    """Purging of deleted experiments, runs and logged models: `forgelog.experiments.v1.PurgeQueries`, and the commands.

    What is purged can't be restored: its points and files are gone. Its events stay.
    """

    async def plan(self, *, deleted_before: datetime | None = None, project: str = "", limit: int = 1_000) -> PurgePlan:
        """What can be purged, with what would be given up, the longest deleted first: `purgeable`, and whether there is
        `more`. `deleted_before`: only what was deleted before this time. `project`: the client's own if left out.
        Changes nothing."""
        stub: Any = rpc.PurgeQueriesStub(self._core.channel)
        request = pb.PlanPurgeRequest(
            project=project or self._core.own_project, limit=limit, options=self._core.options(CONTEXT, None)
        )
        if deleted_before is not None:
            request.deleted_before.FromDatetime(deleted_before)
        return cast("PurgePlan", plain(await self._core.ask(stub.PlanPurge, request, "plan")))

    async def execute(
        self, purgeable: Iterable[Mapping[str, Any]], *, deleted_before: datetime | None = None
    ) -> list[Answer]:
        """Purge what a plan of the client's project names (`kind` and `id` of each); the outcomes, in order. One is
        refused if it was restored, or deleted again after `deleted_before`, the time of the plan."""
        entries, own = list(purgeable), self._core.own_project
        if other := next((each for each in entries if each.get("project", own) != own), None):
            problem = f"{other['id']} is of project {other['project']}, and the client of {own}"
            raise InvalidInput(f"{problem}: use a client of that project")
        return await self._core.publish_many(_command(each, deleted_before) for each in entries)


def _command(each: Mapping[str, Any], before: datetime | None) -> tuple[str, dict[str, Any]]:
    name, key = _COMMANDS[each["kind"]]
    body = {key: each["id"], **({} if before is None else {"deleted_before": before.isoformat()})}
    return f"forgelog.{CONTEXT}.v1.{name}", body
