"""The connection to the gateway: where it is, trying again, what a failed call means. Knows no particular service."""

from __future__ import annotations

import asyncio
import json
import random
import time
from asyncio import to_thread
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import grpc
import grpc.aio

from events.process import front_door
from events.process.channels import accepted, client_options
from events.process.retry_hint import retry_seconds
from forgelog.client.keyed import KeyedChannel
from forgelog.errors import Busy, ForgelogError, InvalidInput, NotFound, Problem, Refused, Timeout, Unavailable
from forgelog.where import EXAMPLE, TOKEN, TOKEN_FILE, find_gateway, gateway_address

DEFAULT_ADDRESS = EXAMPLE
"""Where a gateway listens unless told otherwise. Nothing is sent there unless that address was found."""
find_address = gateway_address
"""By this name programs outside have asked which gateway is meant."""
MAX_MESSAGE_BYTES = 16 << 20
DEFAULT_TIMEOUT = 30.0
"""Seconds a call may take, all its tries together."""
FIRST_CONTACT = 3.0
"""Seconds a platform that has never answered here is given to do so: there may be none."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_UNHINTED_PAUSE = 1.0

Answer = TypeVar("Answer")

_GONE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
"""A server that stops cancels its calls; so does gRPC itself with some that a busy server has not looked at yet."""

_REFUSALS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.OUT_OF_RANGE,
}

_NO_GRPC = "Received http2 header with status"
"""How gRPC begins what it says of an answer that no gRPC server gave, such as a proxy's."""


class Connection:
    """One channel to one gateway. Opened at the first call, in the event loop that makes it."""

    def __init__(
        self, address: str | None = None, *, token: str | None = None, timeout: float = DEFAULT_TIMEOUT
    ) -> None:
        """`forgelog.where` says how what is not given is found. Raises `InvalidInput`, `Unavailable`."""
        self._gateway = find_gateway(address, token)
        self.address = self._gateway.address
        self.timeout = timeout
        self._channel: Any = None
        self._met = False
        """Whether the platform has answered here before."""

    @property
    def channel(self) -> Any:
        """A `grpc.aio.Channel` whose calls carry the key."""
        if self._channel is None:
            try:
                channel = front_door.open_channel(self.address, client_options(MAX_MESSAGE_BYTES))
            except ValueError as error:
                raise InvalidInput(str(error)) from None
            self._channel = KeyedChannel(channel, self._gateway.key)
        return self._channel

    @property
    def key(self) -> str:
        """What opens the gateway; empty when none is known."""
        return self._gateway.key

    async def close(self) -> None:
        if self._channel is not None:
            channel, self._channel = self._channel, None
            await channel.close(None)

    async def call(
        self, method: Callable[..., Any], request: Any, *, timeout: float | None = None, what: str = ""
    ) -> Any:
        """A unary call; tried again while the platform is unavailable, until `timeout` seconds have passed (at most
        `FIRST_CONTACT` when it never answered), or busy: then after the pause that it asks for, and a bit of chance, so
        that not everyone comes back at the same moment.

        Safe for commands too: the request carries the command's id, so a repeat yields the first outcome.
        """
        limit = self.timeout if timeout is None else timeout
        started = time.monotonic()
        deadline = started + limit
        pause = _FIRST_PAUSE
        while True:
            left = deadline - time.monotonic()
            try:
                answer = await method(request, timeout=max(left, 0.001))
                self._met = True
                return answer
            except grpc.aio.AioRpcError as error:
                now = time.monotonic()
                hint = come_again_after(error)
                self._met |= hint is not None
                absent = not self._met and now - started > FIRST_CONTACT
                wait = pause if hint is None else max(hint, pause) * random.uniform(1.0, 1.5)
                again = hint is not None or error.code() in _GONE
                if not again or deadline - now <= wait or absent:
                    raise self.translated(error, what, limit, await self._tls_problem(error)) from None
            await asyncio.sleep(wait)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def stream(
        self,
        method: Callable[..., Any],
        request: Any,
        *,
        timeout: float | None = None,
        what: str = "",
        works: Callable[[], None] = lambda: None,
    ) -> AsyncIterator[Any]:
        """A server stream, as far as it goes; the caller starts it again where it wants to go on. `works` is called
        whenever the stream is known to work: when the platform has taken the request, and with each message."""
        call = method(request, timeout=timeout)
        try:
            if accepted(await call.initial_metadata()):
                self._met = True
                works()
            async for message in call:
                self._met = True
                works()
                yield message
        except grpc.aio.AioRpcError as error:
            raise self.translated(error, what, timeout or 0, await self._tls_problem(error)) from None
        finally:
            call.cancel()

    async def resumed(
        self, method: Callable[..., Any], request: Callable[[], Any], *, what: str = "", endless: bool = True
    ) -> AsyncIterator[Any]:
        """A server stream that is started again, with what `request` then gives, when the connection breaks.

        Raises `Unavailable` (`Busy`) when the platform has been away (busy) for longer than a call may take, counted
        from when the stream last worked, however quiet it was then; at the first contact after `FIRST_CONTACT`. A
        stream that the server ends in good order ends here too, unless it is `endless`.
        """
        lost: float | None = time.monotonic()
        pause = _FIRST_PAUSE

        def works() -> None:
            nonlocal lost, pause
            lost, pause = None, _FIRST_PAUSE

        while True:
            hint = 0.0
            try:
                async for message in self.stream(method, request(), what=what, works=works):
                    yield message
                if not endless:
                    return
            except (Unavailable, Busy) as error:
                now = time.monotonic()
                lost = now if lost is None else lost
                if now - lost > (self.timeout if self._met else min(self.timeout, FIRST_CONTACT)):
                    raise
                hint = error.retry_after * random.uniform(1.0, 1.5)
            await asyncio.sleep(max(pause, hint))
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _tls_problem(self, error: grpc.aio.AioRpcError) -> str:
        """Why a platform that has never answered may not be understood; empty if TLS is not why."""
        if self._met or error.code() not in _GONE or come_again_after(error) is not None:
            return ""
        return await to_thread(front_door.tls_problem, self.address)

    def translated(self, error: grpc.aio.AioRpcError, what: str, limit: float, tls: str = "") -> ForgelogError:
        """A failed call as an error for people. `tls`: what is wrong with the connection's TLS, if that is known."""
        code, details = error.code(), error.details() or ""
        prefix = f"{what}: " if what else ""
        if details.startswith(_NO_GRPC) and code not in _GONE:
            return Unavailable(
                f"{prefix}what answers at {self.address} is no platform's gateway ({_first_line(details)}); "
                f"give another address by --gateway or FORGELOG_GATEWAY"
            )
        if code in _GONE and (hint := come_again_after(error)) is not None:
            return Unavailable(f"{prefix}the platform at {self.address} can't answer now: {details}", hint)
        if code in _GONE and tls:
            return Unavailable(f"{prefix}{self.address} can't be spoken with: {tls}")
        if code in _GONE:
            return Unavailable(
                f"{prefix}no platform answers at {self.address} ({_first_line(details)}); "
                "start one with 'forgelog up', or set FORGELOG_GATEWAY to another's address"
            )
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return Timeout(f"{prefix}no answer from {self.address} within {limit:g} s")
        if code is grpc.StatusCode.NOT_FOUND:
            return NotFound(details)
        problems = _field_problems(error)
        if code is grpc.StatusCode.UNAUTHENTICATED:
            return self._locked_out(prefix)
        if (hint := come_again_after(error)) is not None:
            return Busy(f"{prefix}the platform at {self.address} has too much to do: {details}", hint)
        if code in _REFUSALS:
            return Refused(code.name.lower(), details, problems)
        return ForgelogError(f"{prefix}the platform failed: {code.name.lower()}: {details}", problems)

    def _locked_out(self, prefix: str) -> Refused:
        asks = f"{prefix}the platform at {self.address} asks for its key"
        if self._gateway.key:
            why = f"the key that was given ({TOKEN} or {TOKEN_FILE}), or is in the data folder, is not its own"
        else:
            why = f"none is known here: {self._gateway.without}"
        hint = f"its owner finds the key by 'forgelog token'; put it into a file that {TOKEN_FILE} names"
        return Refused("unauthenticated", f"{asks}, and {why}; {hint}")


def _first_line(text: str) -> str:
    return text.splitlines()[0][:200] if text else "no details"


def come_again_after(error: grpc.aio.AioRpcError) -> float | None:
    """Seconds after which a platform that is too busy, or can't answer just now, asks to be called again; None when
    that is not what it says.

    From the `google.rpc.RetryInfo` of a RESOURCE_EXHAUSTED or UNAVAILABLE. The gRPC server itself refuses calls beyond
    its bound without one; a message that is too large has the same code, and is never tried again. Without one,
    UNAVAILABLE comes from this side: there was nobody to answer.
    """
    if error.code() not in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE):
        return None
    trailing: Any = error.trailing_metadata()
    if (seconds := retry_seconds(trailing)) is not None:
        return seconds
    return _UNHINTED_PAUSE if "Concurrent RPC limit" in (error.details() or "") else None


def _field_problems(error: grpc.aio.AioRpcError) -> list[Problem]:
    """Field errors that a service attaches to its refusal: JSON in the trailing metadata ``forgelog-errors-bin``."""
    metadata: Any = error.trailing_metadata() or ()
    for key, value in metadata:
        if key == "forgelog-errors-bin":
            return [Problem(item["field"], item["problem"], item.get("hint", "")) for item in json.loads(value)]
    return []
