"""Serves a router's resources to its Envoy: xDS, incremental, all types on one stream (ADS).

Changes are made before what they replace is broken: first what routes need (clusters, their endpoints, keys), then
routes and listeners, then what no route needs any more goes. Each step waits until Envoy has it. What Envoy refuses is
kept in `refusals` and logged: it goes on with what it had.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from typing import Any

from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2

from services.deployments.router.clusters import TYPES
from services.deployments.router.messages import (
    ASSIGNMENT,
    CLUSTER,
    EXTENSION,
    LISTENER,
    ROUTES,
    RUNTIME,
    SECRET,
    Packed,
    Snapshot,
)

log = logging.getLogger("forgelog.router")

ORDER = (CLUSTER, ASSIGNMENT, RUNTIME, EXTENSION, SECRET, LISTENER, ROUTES)
"""In which types are sent that have changed together."""

_NEEDED = (CLUSTER, ASSIGNMENT, EXTENSION, SECRET)
"""What routes and listeners refer to: what is replaced stays until they have changed."""

_WHOLE = {CLUSTER, LISTENER, ROUTES}
"""What an Envoy has asked for when it has asked for all."""

STEP_SECONDS = 5.0
"""Longest wait for Envoy in one step; then the next one is made all the same."""


@dataclass(slots=True, eq=False)
class _Stream:
    """One Envoy that is connected."""

    wanted: dict[str, set[str] | None] = field(default_factory=dict)
    """Type → names; None for all there are."""
    asked: set[str] = field(default_factory=set)
    """Types that it has asked all of for the first time. It waits for an answer, also where there is nothing."""
    sent: dict[str, dict[str, str]] = field(default_factory=dict)
    """Type → name → version."""
    open: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    """Nonces that are not answered → type, names."""
    count: int = 0
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class Discovery(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):  # type: ignore[misc]
    """The server of the resources that were published last."""

    def __init__(self) -> None:
        self._now: Snapshot = {kind: {} for kind in ORDER}
        self._streams: set[_Stream] = set()
        self._moved = asyncio.Condition()
        self._publishing = asyncio.Lock()
        self.refusals: dict[tuple[str, str], str] = {}
        """Type and name → why Envoy refused the newest of it, in Envoy's words."""

    async def publish(self, snapshot: Snapshot) -> None:
        """Make Envoy have this. Returns when it has it, or at once if none is connected."""
        async with self._publishing:
            before = self._now
            together = {**snapshot, **{kind: before[kind] | snapshot[kind] for kind in _NEEDED}}
            # Routes and listeners stay as they are until Envoy has what the new ones need.
            await self._step({**together, ROUTES: before[ROUTES], LISTENER: before[LISTENER]}, _NEEDED)
            await self._step(together, (LISTENER, ROUTES))
            await self._step(snapshot, (CLUSTER,))

    async def taken(self) -> None:
        """Wait until an Envoy is connected and has what was published last."""
        async with self._moved:
            await self._moved.wait_for(
                lambda: (
                    bool(self._streams)
                    and all(stream.wanted.keys() >= _WHOLE and self._has(stream, ORDER) for stream in self._streams)
                )
            )

    async def _step(self, snapshot: Snapshot, kinds: Collection[str]) -> None:
        self._now = snapshot
        for stream in self._streams:
            stream.woken.set()
        try:
            async with asyncio.timeout(STEP_SECONDS), self._moved:
                await self._moved.wait_for(lambda: all(self._has(stream, kinds) for stream in self._streams))
        except TimeoutError:
            log.warning("Envoy has not taken all of %s in %.0f s; going on", ", ".join(kinds), STEP_SECONDS)

    def _has(self, stream: _Stream, kinds: Collection[str]) -> bool:
        """Whether an Envoy has answered for all of these types that it wants."""
        if any(kind in kinds for kind, _ in stream.open.values()):
            return False
        if CLUSTER in kinds and CLUSTER in stream.wanted:
            # It asks for a new cluster's endpoints after it has said that it has the cluster.
            asked = stream.wanted.get(ASSIGNMENT) or set()
            refused = {name for refused, name in self.refusals if refused == CLUSTER}
            if not self._now[CLUSTER].keys() <= asked | refused:
                return False
        return not any(self._changed(stream, kind) != ({}, []) for kind in kinds)

    def _changed(self, stream: _Stream, kind: str) -> tuple[dict[str, Packed], list[str]]:
        """What is to be sent, and the names of what is gone."""
        wanted = stream.wanted.get(kind, set())
        now, sent = self._now[kind], stream.sent.get(kind, {})
        names = now.keys() if wanted is None else now.keys() & wanted
        fresh = {name: now[name] for name in names if sent.get(name) != now[name].version}
        gone = [name for name, version in sent.items() if version and name not in now]
        return fresh, gone

    async def DeltaAggregatedResources(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        """Of the protocol."""
        stream = _Stream()
        self._streams.add(stream)
        reading = asyncio.create_task(self._read(stream, requests))
        try:
            while not reading.done():
                await stream.woken.wait()
                stream.woken.clear()
                for kind in ORDER:
                    if (answer := self._answer(stream, kind)) is not None:
                        yield answer
                await self._move()
            reading.result()
        finally:
            self._streams.discard(stream)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await self._move()

    async def _move(self) -> None:
        async with self._moved:
            self._moved.notify_all()

    def _answer(self, stream: _Stream, kind: str) -> Any:
        fresh, gone = self._changed(stream, kind)
        asked = kind in stream.asked
        stream.asked.discard(kind)
        if kind not in stream.wanted or not (fresh or gone or asked):
            return None
        stream.count += 1
        nonce = str(stream.count)
        stream.open[nonce] = kind, tuple(fresh)
        sent = stream.sent.setdefault(kind, {})
        sent |= {name: packed.version for name, packed in fresh.items()}
        for name in gone:
            del sent[name]
        return discovery_pb2.DeltaDiscoveryResponse(
            type_url=TYPES + kind,
            nonce=nonce,
            resources=[
                discovery_pb2.Resource(name=name, version=packed.version, resource=packed.body)
                for name, packed in fresh.items()
            ],
            removed_resources=gone,
        )

    async def _read(self, stream: _Stream, requests: AsyncIterator[Any]) -> None:
        try:
            async for request in requests:
                kind = request.type_url.removeprefix(TYPES)
                if kind not in ORDER:
                    log.warning("Envoy asks for %s, which there is none of", kind)
                    continue
                self._subscribe(stream, kind, request)
                if request.response_nonce:
                    self._answered(stream, kind, request)
                stream.woken.set()
                await self._move()
        finally:
            stream.woken.set()

    def _subscribe(self, stream: _Stream, kind: str, request: Any) -> None:
        first = kind not in stream.wanted
        names = set(request.resource_names_subscribe)
        if first:
            stream.wanted[kind] = set() if names - {"*"} else None
            if stream.wanted[kind] is None:
                stream.asked.add(kind)
            stream.sent[kind] = dict(request.initial_resource_versions)
        if "*" in names:
            stream.wanted[kind] = None
        wanted = stream.wanted[kind]
        for name in names - {"*"}:
            if wanted is not None:
                wanted.add(name)
            if not first or name not in request.initial_resource_versions:
                stream.sent[kind].pop(name, None)  # asked for again: it is sent again
        for name in request.resource_names_unsubscribe:
            if wanted is not None:
                wanted.discard(name)
            stream.sent[kind].pop(name, None)

    def _answered(self, stream: _Stream, kind: str, request: Any) -> None:
        _, names = stream.open.pop(request.response_nonce, (kind, ()))
        for name in names:
            self.refusals.pop((kind, name), None)
        if reason := request.error_detail.message:
            # One reason for all that were sent together: those that it names, or all if it names none.
            refused = [name for name in names if name in reason] or names
            self.refusals |= {(kind, name): reason for name in refused}
            log.error("Envoy refuses %s of %s: %s", ", ".join(refused) or "nothing", kind, reason)
