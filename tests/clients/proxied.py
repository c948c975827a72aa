"""Optuna's client on a platform, through `OptunaProxy`, which runs in a thread of its own: the client blocks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from optuna.storages import GrpcStorageProxy

from forgelog.optuna_proxy import OptunaProxy


class Loop:
    """An event loop in a thread of its own, until it is closed."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def do(self, work: Any) -> Any:
        """The result of a coroutine."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextmanager
def storage_of(loop: Loop, gateway: str, key: str, project: str) -> Iterator[GrpcStorageProxy]:
    """A project's studies."""

    async def open() -> OptunaProxy:
        return await OptunaProxy(gateway, key, project).__aenter__()

    proxy = loop.do(open())
    client = GrpcStorageProxy(host="127.0.0.1", port=proxy.port)
    try:
        yield client
    finally:
        client.close()
        loop.do(proxy.__aexit__(None, None, None))
