"""Web servers as sinks: rows are sent by POST, as lists of JSON.

Each request has the header ``Idempotency-Key``, which is the same whenever a version's part is sent again. A server
that knows it takes each part once. Others may get a part more than once: after a crash nobody knows what arrived.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from blake3 import blake3

from events.language.pipelines.columns import Column
from events.language.pipelines.manifests import CommitFile, CommitManifest
from events.language.pipelines.sinks import DataSink
from forgelog.pipelines.io.context import IoContext, Published
from forgelog.pipelines.io.late import earlier
from forgelog.pipelines.io.spooled import Spool, as_list
from forgelog.pipelines.io.web import check_answer, web_client

_ROWS = 1_000
"""Rows of one request."""


class WebPlace:
    """See the module, and `forgelog.pipelines.io.places.Place`."""

    def __init__(self, sink: DataSink, base: str, context: IoContext) -> None:
        self.base = base
        self._connection = sink.connection
        self._context = context
        self._spool = Spool(context)

    def aside(self, attempt: str) -> str:
        return self._spool.url(attempt)

    def check(self, sink: DataSink) -> None:
        """A server can't be asked."""

    def put_aside(
        self, sink: DataSink, attempt: str, local: Path, files: Sequence[CommitFile], columns: Sequence[Column]
    ) -> None:
        self._spool.put(attempt, local, files)

    def publish(self, sink: DataSink, manifest: CommitManifest, version: int) -> Published:
        if self._spool.is_marked(manifest.attempt):
            self._spool.remove(manifest.attempt)
            return Published(version, self.base, manifest.rows, manifest.bytes, already=True)
        number = 0
        with web_client(self._connection, self._context, "path") as client:
            for rows in self._spool.rows(manifest):
                for start in range(0, len(rows), _ROWS):
                    key = blake3(f"{self.base} {manifest.attempt} {version} {number}".encode()).hexdigest()[:32]
                    headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
                    headers |= {f"Forgelog-{name}": value for name, value in sink.metadata.items()}
                    answer = client.post(self.base, content=as_list(rows[start : start + _ROWS]), headers=headers)
                    check_answer(answer, "path")
                    number += 1
        self._spool.mark(manifest.attempt, version)
        for each in earlier(manifest.attempt):
            self._spool.remove(each)
        return Published(version, self.base, manifest.rows, manifest.bytes)

    def discard(self, manifest: CommitManifest) -> None:
        self._spool.remove(manifest.attempt)
