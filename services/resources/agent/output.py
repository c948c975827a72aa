"""Ships what tasks print to the topic ``logs.jobs``, live and at least once; readers tell repeats by their offsets.

A record is a piece of one stream of one attempt: key the job, value raw bytes, headers `job`, `task`, `attempt`,
`stream` (``stdout``, ``stderr``), `offset` (of its first byte in the stream, decimal). An empty record with ``eof``
= ``1`` ends each stream. What was printed beyond the limit of an attempt is not shipped: an empty record with
``truncated`` = ``1`` says so as soon as that is known, and the stream's last one says in `missing` how many bytes of it
that were. Must not know how a task is run: it reads two files that grow, and a count of what is in neither.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from events.language.jobs import OutputDigests
from events.log import topics
from events.log.partitioner import partition_of
from events.log.producer import Producer, ToSend
from events.process import notes
from events.process.settings import Settings
from services.resources.agent.attempts import Attempt
from services.resources.agent.digests import StreamDigest
from services.resources.agent.warden import CUT, STDERR, STDOUT

log = logging.getLogger("forgelog.agent.output")

STREAMS = (STDOUT, STDERR)
CHUNK = 64 << 10
"""Bytes of a record at most."""
AT_ONCE = 4 << 20
"""Bytes under way to Kafka at most."""
SLICE = 1 << 20
"""Bytes that are digested in one turn of the event loop."""
HOT, COLD = 0.02, 0.1
"""Seconds between two looks at a stream: one that was written to lately, and one that is quiet."""
COOLING = 2.0
"""Seconds without a write after which a stream counts as quiet."""
NOTED = "shipped"
"""File in an attempt's folder: how many bytes of each stream Kafka has, two decimal numbers."""
MOST_CUT = 1 << 60
"""Bytes that no task prints: a count beyond it is a forged one."""
NOTE_EVERY = 1.0
PAUSE, LONGEST_PAUSE = 0.5, 10.0
"""Seconds until what could not be shipped is tried again, doubling."""

Shipped = Callable[[Attempt], None]
Control = Callable[[str], notes.Folder]


@dataclass(slots=True)
class OutputFile:
    name: str
    offset: int = 0
    base: int = 0
    """Bytes of the stream before the file's first: more than 0 once the file has shrunk."""
    digest: StreamDigest = field(default_factory=StreamDigest)
    ended: bool = False
    """Kafka has its last record."""


@dataclass(slots=True)
class Following:
    attempt: Attempt
    folder: notes.Folder
    streams: tuple[OutputFile, ...]
    last_growth: float = 0.0
    next_look: float = 0.0
    finished: bool = False
    """Nothing more will be written."""
    noted: float = 0.0
    cut: bool = False
    """That output is missing was said."""
    counts: dict[str, int] | None = None
    """Bytes of each stream that its warden did not keep, as read at this look."""

    @property
    def shipped(self) -> int:
        return sum(stream.offset for stream in self.streams)

    def dropped(self, stream: str) -> int:
        """Bytes of the stream that its warden did not keep, as far as it has said."""
        if self.counts is None:
            self.counts = _cut(self.folder)
        return self.counts.get(stream, 0)


@dataclass(slots=True)
class Piece:
    following: Following
    stream: OutputFile
    offset: int
    value: bytes
    marks: list[tuple[str, bytes]] = field(default_factory=list)

    def headers(self) -> list[tuple[str, bytes]]:
        task = self.following.attempt.task
        return [
            ("job", task.job_id.encode()),
            ("task", str(task.task).encode()),
            ("attempt", str(task.attempt).encode()),
            ("stream", self.stream.name.encode()),
            ("offset", str(self.offset).encode()),
            *self.marks,
        ]


class Output:
    """`shipped` is called once for each finished attempt, when Kafka has all of its output."""

    def __init__(self, settings: Settings, control: Control, shipped: Shipped) -> None:
        """`control`: an attempt's control folder, by the attempt's key."""
        self._settings = settings
        self._topic = settings.prefix + topics.LOGS
        self._control = control
        self._shipped = shipped
        self._limit = settings.output_bytes
        self._pause = PAUSE
        self._followed: dict[str, Following] = {}
        self._changed = asyncio.Event()

    def follow(self, attempt: Attempt) -> None:
        """Ship the attempt's output from now on, or from where an earlier agent got to."""
        folder = self._control(attempt.key)
        offsets = _read_note(folder) if attempt.resumed else [0] * len(STREAMS)
        streams = tuple(OutputFile(name, offset) for name, offset in zip(STREAMS, offsets, strict=True))
        following = Following(attempt, folder, streams, last_growth=time.monotonic())
        self._followed[attempt.key] = following
        self._changed.set()

    def finish(self, attempt: Attempt) -> None:
        """The attempt has ended: ship what is left, at once."""
        if (following := self._followed.get(attempt.key)) is not None:
            following.finished = True
            following.next_look = 0.0
            self._changed.set()

    def digest(self, attempt: Attempt, done: Callable[[Attempt], None]) -> None:
        """The attempt has ended: call `done` when it has the digests of all that it printed; it has none where that is
        more than is kept, or can't be read. What was not read yet is read now, in slices between which others have
        their turn."""
        following = self._followed.get(attempt.key)
        if following is not None:
            following.counts = None
        self._digest(attempt, following, done)

    def _digest(self, attempt: Attempt, following: Following | None, done: Callable[[Attempt], None]) -> None:
        try:
            if following is not None:
                sizes = [stream.base + _size(following.folder, stream.name) for stream in following.streams]
                if sum(sizes) <= self._limit and not any(map(following.dropped, STREAMS)):
                    if _digest_more(following, sizes):
                        asyncio.get_running_loop().call_soon(self._digest, attempt, following, done)
                        return
                    attempt.output = _digests(following, sizes)
        except Exception as error:
            log.error("there are no digests of what %s printed: %s", attempt.key, error, exc_info=error)
        done(attempt)

    async def run(self) -> None:
        """Ship, until cancelled."""
        async with Producer(self._settings) as producer:
            partitions = await producer.partitions_for(self._topic)
            while True:
                self._changed.clear()
                pieces = self._gather(time.monotonic(), min(CHUNK, producer.batch_bytes // 2))
                if pieces:
                    await self._ship(producer, partitions, pieces)
                    continue
                looks = [following.next_look for following in self._followed.values()]
                wait = max(0.0, min(looks) - time.monotonic()) if looks else None
                try:
                    await asyncio.wait_for(self._changed.wait(), wait)
                except TimeoutError:
                    continue

    def _gather(self, now: float, chunk: int) -> list[Piece]:
        """What there is to ship, fairly: a bounded part of every stream that is due."""
        due = [following for following in self._followed.values() if following.next_look <= now]
        due.sort(key=lambda following: following.next_look)  # who had to wait the last time comes first
        pieces: list[Piece] = []
        share = max(CHUNK, AT_ONCE // max(1, 2 * len(due)))
        room = AT_ONCE
        for following in due:
            if room <= 0:
                break
            before = len(pieces)
            following.counts = None
            for stream in following.streams:
                if not stream.ended and room > 0:
                    found = self._read(following, stream, min(share, room), chunk)
                    room -= sum(len(piece.value) for piece in found)
                    pieces += found
            if len(pieces) > before:
                following.last_growth = now
            cold = now - following.last_growth > COOLING
            following.next_look = now + (COLD if cold else HOT)
        return pieces

    def _read(self, following: Following, stream: OutputFile, most: int, chunk: int) -> list[Piece]:
        size = stream.base + _size(following.folder, stream.name)
        if size < stream.offset:
            log.warning(
                "%s/%s has shrunk: what is in it now follows what was shipped", following.folder.path, stream.name
            )
            stream.base, size = stream.offset, stream.offset + size - stream.base
        room = max(0, self._limit - following.shipped)
        wanted = min(size - stream.offset, most, room)
        pieces: list[Piece] = []
        offset = stream.offset
        if wanted > 0:
            data = _read_file(following.folder, stream.name, offset - stream.base, wanted)
            stream.digest.add(offset, data)
            for at in range(0, len(data), chunk):
                pieces.append(Piece(following, stream, offset, data[at : at + chunk]))
                offset += len(pieces[-1].value)
        if size - offset > 0 and following.shipped + offset - stream.offset < self._limit:
            return pieces  # there is more to read
        over = size - offset
        if following.finished:
            missing = over + following.dropped(stream.name)
            marks = [("eof", b"1"), *([("truncated", b"1"), ("missing", str(missing).encode())] if missing else ())]
            pieces.append(Piece(following, stream, offset, b"", marks))
        elif not following.cut and offset >= size and (over or following.dropped(stream.name)):
            pieces.append(Piece(following, stream, offset, b"", [("truncated", b"1")]))
            following.cut = True
        return pieces

    def _record(self, piece: Piece, partitions: int) -> ToSend:
        key = piece.following.attempt.task.job_id
        return ToSend(self._topic, piece.value, key.encode(), partition_of(key, partitions), piece.headers())

    async def _ship(self, producer: Producer, partitions: int, pieces: list[Piece]) -> None:
        """Send each attempt's pieces for themselves: those of one that Kafka does not take hold up no others."""
        groups: dict[str, list[Piece]] = {}
        for piece in pieces:
            groups.setdefault(piece.following.attempt.key, []).append(piece)
        done = await asyncio.gather(*(self._send(producer, partitions, group) for group in groups.values()))
        if all(done):
            self._pause = PAUSE
        else:
            await asyncio.sleep(self._pause)
            self._pause = min(2 * self._pause, LONGEST_PAUSE)

    async def _send(self, producer: Producer, partitions: int, pieces: list[Piece]) -> bool:
        """Send an attempt's pieces; whether Kafka has them. What fails is read and sent again, in smaller batches where
        it was too large. A piece that is refused at the smallest size is left out: its readers see a gap."""
        size = producer.batch_bytes
        try:
            await producer.send_all([self._record(piece, partitions) for piece in pieces])
        except MessageSizeTooLargeError:
            if producer.make_smaller(size):
                pieces[0].following.cut = False
                pieces[0].following.next_look = 0.0
                return True
            log.error("the topic %s takes no batch of %d bytes: output is lost", self._topic, size)
        except (KafkaError, OSError) as error:
            log.warning("output could not be shipped (%s); trying again", error or type(error).__name__)
            pieces[0].following.cut = False
            return False
        self._shipped_now(pieces)
        return True

    def _shipped_now(self, pieces: list[Piece]) -> None:
        now = time.monotonic()
        following = pieces[0].following
        for piece in pieces:
            piece.stream.offset = piece.offset + len(piece.value)
            if piece.marks and piece.marks[0][0] == "eof":
                piece.stream.ended = True
        if all(stream.ended for stream in following.streams):
            del self._followed[following.attempt.key]
            self._shipped(following.attempt)
        elif now - following.noted >= NOTE_EVERY:
            following.noted = now
            _write_note(following.folder, [stream.offset for stream in following.streams])


def _digest_more(following: Following, sizes: list[int]) -> bool:
    """Add a slice of what no digest has yet; False if there is nothing more, or it can't be read."""
    for stream, size in zip(following.streams, sizes, strict=True):
        at = stream.digest.size
        if stream.base <= at < size:
            data = _read_file(following.folder, stream.name, at - stream.base, min(SLICE, size - at))
            stream.digest.add(at, data)
            if data:
                return True
    return False


def _digests(following: Following, sizes: list[int]) -> OutputDigests | None:
    """None if a digest is not of the whole stream: its file was made shorter, or could not be read."""
    if any(stream.digest.size != size for stream, size in zip(following.streams, sizes, strict=True)):
        return None
    out, err = (stream.digest for stream in following.streams)
    return OutputDigests(
        stdout_bytes=out.size, stdout_digest=out.hexdigest(), stderr_bytes=err.size, stderr_digest=err.hexdigest()
    )


def _cut(folder: notes.Folder) -> dict[str, int]:
    """Bytes of each stream that its warden did not keep, as far as it has said."""
    try:
        counts = json.loads(folder.read(CUT, 4096))
        found = {name: int(counts[name]) for name in STREAMS}
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return {}  # nothing was cut
    return found if all(0 <= count < MOST_CUT for count in found.values()) else {}


def _size(folder: notes.Folder, name: str) -> int:
    """0 as long as it never came to printing, and when the task has put something else there."""
    try:
        with folder.entered() as inside:
            found = os.stat(name, dir_fd=inside, follow_symlinks=False)
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _read_file(folder: notes.Folder, name: str, offset: int, count: int) -> bytes:
    """Nothing when the file is gone: then its size is 0 at the next look."""
    try:
        with folder.entered() as inside:
            file = notes.opened(name, inside)
        try:
            return os.pread(file, count, offset)
        finally:
            os.close(file)
    except OSError as error:
        log.warning("%s/%s can't be read: %s", folder.path, name, error.strerror)
        return b""


def _read_note(folder: notes.Folder) -> list[int]:
    """Zeros as long as there is no note, and when it makes no sense: what is shipped again is told by its offset."""
    nothing = [0] * len(STREAMS)
    try:
        offsets = [int(part) for part in folder.read(NOTED, 1024).split()]
    except (OSError, ValueError):
        return nothing
    return offsets if len(offsets) == len(STREAMS) and min(offsets) >= 0 else nothing


def _write_note(folder: notes.Folder, offsets: list[int]) -> None:
    """In place and always of the same length: a reader never sees a part, and no file is made anew."""
    try:
        with folder.entered() as inside:
            file = notes.opened(NOTED, inside, os.O_WRONLY | os.O_CREAT)
        try:
            os.pwrite(file, " ".join(f"{offset:020d}" for offset in offsets).encode(), 0)
        finally:
            os.close(file)
    except OSError as error:  # a full disk, or a task that removed its notes: a later agent ships again from its start
        log.warning("%s/%s can't be written: %s", folder.path, NOTED, error.strerror)
