"""What runs ran, through the client: code, command, packages, machine, seeds."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any, cast

from forgelog.client.core import Namespace
from forgelog.client.experiments import CONTEXT
from forgelog.client.fetching import in_thread, read_object
from forgelog.client.plain import Answer, plain
from forgelog.client.rows import CapturedRunRow
from forgelog_pb.experiments.v1 import capture_queries_pb2 as pb
from forgelog_pb.experiments.v1 import capture_queries_pb2_grpc as rpc

if TYPE_CHECKING:
    from events.objects.remote import RemoteObjects
    from forgelog.capture import Captured


class AsyncCaptures(Namespace):
    """Captures of runs: `forgelog.experiments.v1.CaptureQueries`, and the command that saves one."""

    async def save(
        self, run: str, captured: Captured | None = None, *, seeds: Mapping[str, int] | None = None
    ) -> Answer:
        """Keep what a run runs, so that it can be reproduced. `captured`: by `forgelog.capture.capture()`; left out,
        this process is captured now, with these `seeds`. Parts that it does not have stay as they were.

        Raises `Refused`, `Unavailable`, `InvalidInput`."""
        if captured is None:
            from forgelog.capture import capture

            captured = await asyncio.to_thread(capture, seeds=seeds)
        objects = captured.objects
        if objects:
            await in_thread(self._core, "sent", lambda remote: _put(remote, objects))
        body = {"run_id": run, "capture": captured.capture.model_dump(mode="json", exclude_defaults=True)}
        return await self._core.publish((f"forgelog.{CONTEXT}.v1.CaptureRun", body))

    async def get(self, run: str, *, at: datetime | None = None) -> CapturedRunRow:
        """What a run ran. Raises `NotFound`."""
        stub: Any = rpc.CaptureQueriesStub(self._core.channel)
        request = pb.GetRunCaptureRequest(run_id=run, options=self._core.options(CONTEXT, at))
        answer = await self._core.ask(stub.GetRunCapture, request, f"run {run}")
        return cast("CapturedRunRow", plain(answer.captured))

    async def read(self, ref: Mapping[str, Any]) -> bytes:
        """An object that a capture names, such as its ``code.changes``: `digest` and `size`. Raises `NotFound`,
        `Unavailable`."""
        from events.language.objects import ObjectRef

        wanted = ObjectRef(digest=ref["digest"], size=ref["size"])
        return await in_thread(self._core, "fetched", lambda remote: read_object(remote, wanted))


def _put(remote: RemoteObjects, objects: Mapping[str, bytes]) -> None:
    """Blocks."""
    from events.language.objects import ObjectRef

    refs = [ObjectRef(digest=digest, size=len(data)) for digest, data in objects.items()]
    for ref in remote.missing(refs):
        remote.put(ref, lambda ref=ref: BytesIO(objects[ref.digest]))  # type: ignore[misc]
