"""Whether what is stored of tasks' output is what they printed, through the client."""

from __future__ import annotations

from typing import Any, NamedTuple

from forgelog.client.core import Namespace
from forgelog.client.jobs import AsyncJobs
from forgelog.errors import InvalidInput

STREAMS = ("stdout", "stderr")

INTACT, DIFFERS, INCOMPLETE, GONE = "intact", "differs", "incomplete", "gone"
NOT_SEALED, NOT_ENDED = "not sealed", "not ended"
BAD = frozenset({DIFFERS, INCOMPLETE})
"""Results that say that something is not as it was."""


class CheckedOutput(NamedTuple):
    """What an attempt of a task printed on one stream, and what is stored of it."""

    task: int
    attempt: int
    stream: str
    result: str
    """``intact``; ``differs``; ``incomplete``: bytes are missing that were to be kept; ``gone``: its beginning is not
    stored, as after the time for which output is kept; ``not sealed``: more than is kept was printed, or its node could
    not read all; ``not ended``."""
    bytes: int | None
    digest: str | None
    """BLAKE3 of them, as the attempt's node read them; None where these two are not known."""
    stored_bytes: int
    stored_digest: str


class _Stored:
    """What is stored of a stream, piece by piece."""

    def __init__(self) -> None:
        from blake3 import blake3

        self._hash = blake3()
        self.size = 0
        self.ended = False
        self.gone = False
        self.missing = False

    def add(self, piece: Any) -> None:
        self.ended = self.ended or piece.eof
        if piece.missing_bytes:
            self.missing = True
        elif piece.offset > self.size and not self.missing:
            self.gone = True
        self._hash.update(piece.data)
        self.size = max(self.size, piece.offset) + len(piece.data)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest() if self.size else ""


class AsyncOutput(Namespace):
    """Tasks' output, held against what their nodes read."""

    async def verify(self, id: str, *, tasks: str = "") -> list[CheckedOutput]:
        """Read a job's output, and hold it against the digests in its events, a row for each stream of each attempt.
        `tasks`: of these only, such as ``0-3,7``. That those events are as they were written, `audit verify` shows.
        Raises `NotFound`, `InvalidInput`."""
        from events.language.task_ranges import parse_ranges

        try:
            ranges = parse_ranges(tasks) if tasks else ()
        except ValueError as error:
            raise InvalidInput(f"tasks: {error}") from None
        jobs = AsyncJobs(self._core)
        attempts = await jobs.attempts(id)  # first: what is stored of those that have ended by now is complete
        stored: dict[tuple[int, int, str], _Stored] = {}
        async for piece in jobs.logs(id, tasks=tasks):
            stored.setdefault((piece.task, piece.attempt, piece.stream), _Stored()).add(piece)
        return [
            _checked(attempt, stream, stored.get((attempt.task, attempt.attempt, stream)) or _Stored())
            for attempt in attempts
            if not ranges or any(low <= attempt.task <= high for low, high in ranges)
            for stream in STREAMS
        ]


def _checked(attempt: Any, stream: str, stored: _Stored) -> CheckedOutput:
    size, digest = attempt.get(f"{stream}_bytes"), attempt.get(f"{stream}_digest")
    if attempt.ended_at is None:
        result = NOT_ENDED
    elif size is None:
        result = NOT_SEALED
    elif (stored.size, stored.digest) == (size, digest) and not stored.gone:
        result = INTACT
    elif stored.missing:
        result = INCOMPLETE
    elif stored.gone or not (stored.size or stored.ended):
        result = GONE
    else:
        result = DIFFERS if stored.ended else INCOMPLETE
    return CheckedOutput(attempt.task, attempt.attempt, stream, result, size, digest, stored.size, stored.digest)
