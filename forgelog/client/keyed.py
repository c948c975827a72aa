"""A gRPC channel whose calls carry the key. Knows no method.

gRPC's own call credentials need TLS, and an interceptor makes tasks of each call; this adds an entry to its metadata.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class KeyedChannel:
    """Does what the channel behind it does, for stubs too."""

    def __init__(self, channel: Any, key: str) -> None:
        """`channel`: a `grpc.aio.Channel`."""
        self._channel = channel
        self._credentials = (("authorization", f"Bearer {key}"),) if key else ()
        self.unary_unary = self._keyed(channel.unary_unary)
        self.unary_stream = self._keyed(channel.unary_stream)
        self.stream_unary = self._keyed(channel.stream_unary)
        self.stream_stream = self._keyed(channel.stream_stream)

    async def __aenter__(self) -> KeyedChannel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def _keyed(self, make: Callable[..., Any]) -> Callable[..., Any]:
        def method(*arguments: Any, **options: Any) -> Callable[..., Any]:
            call, credentials = make(*arguments, **options), self._credentials

            def start(*given: Any, metadata: Any = (), **more: Any) -> Any:
                return call(*given, metadata=(*credentials, *(metadata or ())), **more)

            return start

        return method
