"""Objects through the gateway, for nodes and clients, which have no access to the store. Blocks; use threads.

A request that fails by a fault of the network, or is told to come again, is made again until `patience` seconds have
passed without any byte that went well; see `_Patience`. What fails at the files of the caller is raised as it is. Each
thread has a connection of its own. Must not know what objects mean.
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from contextlib import contextmanager
from functools import partial
from typing import Any, BinaryIO

from blake3 import blake3

from events.language.objects import ObjectRef
from events.process import front_door

_TIMEOUT = 60.0
"""Seconds in which a connection has to give some byte."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_PIECE = 1 << 20
_MAX_ASKED = 5_000
"""Objects that are asked for at a time; the gateway takes no more."""
_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
_DAMAGED = "data_loss"
"""The code of bytes that are not those that were put; another try meets the same ones."""
_MAX_ERROR_BYTES = 64 << 10


class RemoteError(Exception):
    """The gateway refuses, or can't be reached. Says what to do."""


class RemoteMissing(RemoteError):
    """There is no such object."""


class RemoteStopped(RemoteError):
    """The transfer was stopped."""


class ObjectChanged(RemoteError):
    """What is to be put has other bytes than were announced."""


class RemoteObjects:
    """The objects of the platform at an address. `stopped`: once it is set, what is under way ends soon."""

    def __init__(
        self, address: str, key: str, *, patience: float = 60.0, stopped: threading.Event | None = None
    ) -> None:
        """`address`: the gateway's, as `events.process.front_door` has it. `key`: the key for it, which no error
        shows."""
        self._address = address
        self._headers = {"authorization": f"Bearer {key}"} if key else {}
        self._patience = patience
        self._stopped = stopped or threading.Event()
        self._failed = threading.Event()
        """Whether one of several transfers that belong together has failed; the others then stop."""
        self._local = threading.local()

    def missing(self, refs: Sequence[ObjectRef]) -> list[ObjectRef]:
        """The objects that must be put. Raises RemoteError."""
        missing: list[ObjectRef] = []
        for at in range(0, len(refs), _MAX_ASKED):
            body = json.dumps({"objects": [ref.model_dump() for ref in refs[at : at + _MAX_ASKED]]}).encode()
            answer = self._again(partial(self._ask_missing, body))
            missing += [ObjectRef.model_validate(each) for each in json.loads(answer)["missing"]]
        return missing

    def put(
        self, ref: ObjectRef, opened: Callable[[], BinaryIO], progress: Callable[[int], None] | None = None
    ) -> None:
        """Put an object. `opened`: opens its bytes, once for each try; what follows behind the announced bytes, as in a
        file that grows, is not sent. `progress`: called with the bytes sent. Raises RemoteError, ObjectChanged, and
        what `opened` and its reading raise."""

        def once(patience: _Patience) -> None:
            went = 0

            def pieces() -> Iterator[bytes]:
                nonlocal went
                seen = blake3()
                while went < ref.size:
                    self.check_stopped()
                    with _on_disk():
                        piece = file.read(min(_PIECE, ref.size - went))
                    seen.update(piece)
                    whole = went + len(piece) == ref.size
                    if not piece or (whole and seen.hexdigest() != ref.digest):
                        raise ObjectChanged(f"the bytes of {ref.digest} changed while they were sent; try again")
                    yield piece
                    went += len(piece)
                    patience.went(went)
                    if progress is not None:
                        progress(len(piece))

            with _on_disk_opened(opened) as file:
                try:
                    self._ask("PUT", f"/{ref.digest}", pieces(), {"content-length": str(ref.size)})
                except BaseException:
                    if progress is not None:
                        progress(-went)
                    raise

        self._again(once)

    def get(self, ref: ObjectRef, opened: Callable[[], BinaryIO]) -> None:
        """Fetch an object and compare it with its digest. `opened`: opens the file to write, once for each try. Raises
        RemoteError, and what `opened` and its writing raise."""
        self._again(partial(self._get, ref, opened))

    def all_or_stop(self, transfers: Sequence[Future[Any]]) -> None:
        """Wait for all transfers. If one fails, stop the others and raise its error; this instance is unusable after
        that."""
        try:
            for done in as_completed(transfers):
                done.result()
        except BaseException:
            self._failed.set()
            for each in transfers:
                each.cancel()
            raise

    def _ask_missing(self, body: bytes, _: _Patience) -> bytes:
        return self._ask("POST", ":missing", body, {"content-type": "application/json"})

    def _get(self, ref: ObjectRef, opened: Callable[[], BinaryIO], patience: _Patience) -> None:
        answer = self._request("GET", f"/{ref.digest}", None, {})
        seen, size = blake3(), 0
        with _on_disk_opened(opened) as file:
            while piece := answer.read(_PIECE):
                self.check_stopped()
                size += len(piece)
                if size > ref.size:
                    break
                seen.update(piece)
                with _on_disk():
                    file.write(piece)
                patience.went(size)
        if size < ref.size and answer.length:
            raise http.client.IncompleteRead(b"", answer.length)
        if size != ref.size or seen.hexdigest() != ref.digest:
            self._drop()
            raise RemoteError(
                f"the object {ref.digest} came as other bytes than it should have ({size} of {ref.size}); the object "
                "store is damaged, or something between changes them"
            )

    def _again(self, once: Callable[[_Patience], Any]) -> Any:
        """Try until it succeeds, or patience runs out."""
        pause, patience = _FIRST_PAUSE, _Patience(self._patience)
        while True:
            self.check_stopped()
            try:
                patience.begins()
                return once(patience)
            except _OnDisk as error:
                self._drop()  # the rest of an answer may be on its way
                raise error.error from None
            except _ComeAgain as error:
                wait = max(pause, error.after)
                if patience.ends_within(wait):
                    raise RemoteError(str(error)) from None
            except http.client.HTTPException as error:
                self._drop()
                wait, text = pause, f"the answer of {self._address} was cut ({type(error).__name__}); see its log"
                if patience.ends_within(wait):
                    raise RemoteError(text) from None
            except TimeoutError:
                self._drop()
                wait = pause
                if patience.ends_within(wait):
                    raise RemoteError(f"{self._address} does not answer within {_TIMEOUT:g} s") from None
            except ssl.SSLCertVerificationError as error:
                self._drop()
                raise RemoteError(f"{self._address}: {front_door.refused(error)}") from None
            except OSError as error:  # also a name that is not found, and a network that is down
                self._drop()
                wait = pause
                if patience.ends_within(wait):
                    tls = front_door.tls_problem(self._address) if isinstance(error, ssl.SSLError) else ""
                    why = tls or error.strerror or error
                    raise RemoteError(f"{self._address} can't be reached: {why}") from None
            self._stopped.wait(wait)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _ask(self, method: str, path: str, body: Any, headers: dict[str, str]) -> bytes:
        return self._request(method, path, body, headers).read()

    def _request(self, method: str, path: str, body: Any, headers: dict[str, str]) -> http.client.HTTPResponse:
        """The response, if its status is a success. Raises RemoteError, _ComeAgain."""
        connection = self._connection()
        try:
            connection.request(method, f"/v1/objects{path}", body, {**self._headers, **headers})
        except ConnectionError:
            if connection.sock is None or connection.sock.fileno() < 0:
                raise  # there is none, or its handshake failed
            # the gateway may have refused it before all of it came: then there is an answer
        except BaseException:
            self._drop()  # what went is not a whole request
            raise
        answer = connection.getresponse()
        if answer.status < 300:
            return answer
        text, code = _told(answer)
        self._drop()
        if answer.status == 404:
            raise RemoteMissing(text)
        if answer.status in _AGAIN and code != _DAMAGED:
            after = answer.headers.get("retry-after", "")
            raise _ComeAgain(text, float(after) if after.isdigit() else 0.0)
        raise RemoteError(text)

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._new_connection()
        return connection

    def _new_connection(self) -> http.client.HTTPConnection:
        place = front_door.authority_of(self._address)
        if not front_door.has_tls(self._address):
            return http.client.HTTPConnection(place, timeout=_TIMEOUT)
        try:
            context = front_door.context()
        except front_door.CertificateProblem as problem:
            raise RemoteError(str(problem)) from None
        return http.client.HTTPSConnection(place, timeout=_TIMEOUT, context=context)

    def _drop(self) -> None:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    def check_stopped(self) -> None:
        """Raises RemoteStopped once it is to stop, or once a transfer beside this one has failed."""
        if self._stopped.is_set() or self._failed.is_set():
            raise RemoteStopped("it was stopped")


class _Patience:
    """How long to retry. Bytes beyond those of every earlier try restart the time. The time in which bytes are sent
    again does not count. So an object that is refused each time is given up, but none while it makes progress.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._passed = time.monotonic()
        """When bytes passed last, or a try began."""
        self._until = self._passed + seconds
        self._most = 0
        """Bytes of the try that got furthest."""

    def begins(self) -> None:
        """A try begins."""
        self._passed = time.monotonic()

    def went(self, count: int) -> None:
        """So many bytes of this try passed by now."""
        now = time.monotonic()
        if count > self._most:
            self._most, self._until = count, now + self._seconds
        else:
            self._until += now - self._passed
        self._passed = now

    def ends_within(self, seconds: float) -> bool:
        return time.monotonic() + seconds > self._until


class _OnDisk(Exception):
    """The caller's own file failed, and not the network."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error)
        self.error = error


@contextmanager
def _on_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _OnDisk(error) from None


@contextmanager
def _on_disk_opened(opened: Callable[[], BinaryIO]) -> Iterator[BinaryIO]:
    with _on_disk():
        file = opened()
    try:
        yield file
    finally:
        with _on_disk():
            file.close()  # what is still to be written may find the disk full


class _ComeAgain(Exception):
    def __init__(self, text: str, after: float) -> None:
        super().__init__(text)
        self.after = after
        """Seconds."""


def _told(answer: http.client.HTTPResponse) -> tuple[str, str]:
    """The error message of the gateway, and its code."""
    try:
        error = json.loads(answer.read(_MAX_ERROR_BYTES))["error"]
        message, code = error["message"], error["code"]
    except (ValueError, LookupError, TypeError):
        message = code = ""
    return str(message) or f"the gateway answered {answer.status} {answer.reason}", str(code)
