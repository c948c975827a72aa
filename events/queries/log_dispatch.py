"""`forgelog.log.v1.LogQueries` of a process that serves several contexts: a request's `context` says which of them is
asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import grpc
from prometheus_client import generate_latest

from events.queries.log_queries import LogServicer
from events.queries.queries import QueryError
from forgelog_pb.log.v1 import queries_pb2 as pb
from forgelog_pb.log.v1 import queries_pb2_grpc as rpc

_CONTEXT = re.compile(r'[{,]context="([^"]*)"')


class LogDispatch(rpc.LogQueriesServicer):
    """Hands each request to the servicer of its context. A process of one context answers without a name, too."""

    def __init__(self, servicers: Mapping[str, LogServicer], ended: Callable[[str], str] = lambda _: "") -> None:
        """By context. `ended`: why nothing works for a context now; it can be asked for its status alone then."""
        self._servicers = servicers
        self._ended = ended

    def GetHistory(self, request: Any, context: Any) -> Any:
        return self._working(request.context).GetHistory(request, context)

    def WatchEvents(self, request: Any, context: Any) -> Any:
        return self._working(request.context).WatchEvents(request, context)

    def GetStatus(self, request: Any, context: Any) -> Any:
        return self._of(request.context).GetStatus(request, context)

    def ListDeadLetters(self, request: Any, context: Any) -> Any:
        return self._of(request.context).ListDeadLetters(request, context)

    async def GetMetrics(self, request: Any, _: Any) -> Any:
        found = self._of(request.context)
        text = generate_latest().decode()
        return pb.GetMetricsResponse(text=text if len(self._servicers) == 1 else only(text, found.context))

    def _working(self, context: str) -> LogServicer:
        found = self._of(context)
        if why := self._ended(found.context):
            raise QueryError(grpc.StatusCode.UNAVAILABLE, f"{found.context}: {why}")
        return found

    def _of(self, context: str) -> LogServicer:
        found = self._servicers.get(context)
        if found is None and not context and len(self._servicers) == 1:
            (found,) = self._servicers.values()
        if found is None:
            here = ", ".join(map(repr, self._servicers))
            problem = f"this is the service of {here}, not of {context!r}"
            if not context:
                problem = f"context: this is the service of {here}; name the one that is asked"
            raise QueryError(grpc.StatusCode.INVALID_ARGUMENT, problem)
        return found


def only(metrics: str, context: str) -> str:
    """Prometheus' text without the samples of other contexts: Prometheus asks for each context by itself, and would
    count those twice."""
    kept = []
    for line in metrics.splitlines(keepends=True):
        named = None if line.startswith("#") else _CONTEXT.search(line)
        if named is None or named[1] == context:
            kept.append(line)
    return "".join(kept)
