"""Versions of pipelines, each asked for once: they never change."""

from __future__ import annotations

import asyncio
import time

from events.language.convert import to_dict
from events.language.pipelines.pipeline import PipelineSpec
from events.language.pipelines.stages import StageSpec
from forgelog.client.core import Core
from forgelog.errors import NotFound, Timeout, Unavailable
from forgelog_pb.pipelines.v1 import queries_pb2, queries_pb2_grpc

BEHIND_SECONDS = 60.0
"""How long the platform's tables may be behind its log, before what an order names is said to be missing."""
_AGAIN_SECONDS = 1.0


class Versions:
    """What a worker knows of the descriptions of pipelines."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._known: dict[tuple[str, int], PipelineSpec] = {}

    async def get(self, pipeline_id: str, version: int) -> PipelineSpec:
        """Waits as long as the platform is away, and a while for tables that are behind. Raises NotFound."""
        key, until = (pipeline_id, version), time.monotonic() + BEHIND_SECONDS
        while key not in self._known:
            stub = queries_pb2_grpc.PipelineQueriesStub(self._core.channel)
            request = queries_pb2.GetPipelineVersionRequest(pipeline_id=pipeline_id, version=version)
            try:
                answer = await self._core.ask(stub.GetPipelineVersion, request, f"version {version} of {pipeline_id}")
            except (Unavailable, Timeout):
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            except NotFound:
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            self._known[key] = PipelineSpec.model_validate(to_dict(answer.version.spec))
        return self._known[key]

    async def stage(self, pipeline_id: str, version: int, stage_id: str) -> StageSpec | None:
        """A stage of a version; None if it has none of that id."""
        spec = await self.get(pipeline_id, version)
        return next((stage for stage in spec.stages if stage.id == stage_id), None)
