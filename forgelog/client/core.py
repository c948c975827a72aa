"""What every call of the client stands on: publishing with retries, the client's own writes, pages.

`Core` is one client's connection; `Namespace` is the base of each context's calls (`client.jobs`), which share it.
Knows the gateway's commands, and no query of any service.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import datetime
from importlib import import_module
from typing import Any, Generic, Literal, TypeVar, overload

from forgelog.client.channel import DEFAULT_TIMEOUT, Connection
from forgelog.client.finite import not_finite
from forgelog.client.frames import Rows
from forgelog.client.plain import Answer, plain, timestamp
from forgelog.command_ids import new_id
from forgelog.errors import InvalidInput, Problem, Refused, Timeout
from forgelog_pb.gateway.v1 import commands_pb2, commands_pb2_grpc
from forgelog_pb.query.v1 import options_pb2

PAGE = 1000
"""Rows asked for at once."""

Wait = bool | Literal["conclusion"]
"""What is waited for when a command is published: its outcome, nothing, or the end of a creation in several steps."""


class Core:
    """The connection of one client, and what it has written so far."""

    def __init__(
        self,
        address: str | None = None,
        *,
        project: str | None = None,
        actor: str | None = None,
        token: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        self.connection = Connection(address, token=token, timeout=timeout)
        self.project = project or os.environ.get("FORGELOG_PROJECT", "")
        self.actor = actor or os.environ.get("FORGELOG_ACTOR", "")
        self.written: dict[str, dict[str, int]] = {}
        """Context → topic/partition → newest offset of this client's own writes."""

    @property
    def channel(self) -> Any:
        """The open channel, for stubs."""
        return self.connection.channel

    @property
    def own_project(self) -> str:
        """The project of what it makes and of the names that it is asked for."""
        return self.project or "local/default"

    # Commands

    async def publish(self, command: Any, *, id: str = "", wait: Wait = True, timeout: float | None = None) -> Answer:
        """See `AsyncClient.publish`."""
        until = _until(wait)
        message = self.message(command, id)
        stub = commands_pb2_grpc.CommandsStub(self.channel)
        if not wait:
            just = commands_pb2.PublishRequest(command=message)
            return plain(await self.connection.call(stub.Publish, just, timeout=timeout, what="publish"))
        limit = self.connection.timeout if timeout is None else timeout
        request = commands_pb2.PublishAndWaitRequest(command=message, until=until)
        request.timeout.FromMilliseconds(int(limit * 1000))
        answer = await self.connection.call(stub.PublishAndWait, request, timeout=limit, what="publish")
        return self._outcome(answer.outcome)

    async def publish_many(
        self, commands: Iterable[Any], *, wait: Wait = True, timeout: float | None = None
    ) -> list[Answer]:
        """See `AsyncClient.publish_many`."""
        until = _until(wait)
        messages = [self.message(command) for command in commands]
        stub = commands_pb2_grpc.CommandsStub(self.channel)
        limit = self.connection.timeout if timeout is None else timeout
        outcomes: list[Answer] = []
        for start in range(0, len(messages), PAGE):
            request = commands_pb2.PublishManyRequest(
                commands=messages[start : start + PAGE], wait=bool(wait), until=until
            )
            request.timeout.FromMilliseconds(int(limit * 1000))
            answer = await self.connection.call(stub.PublishMany, request, timeout=limit, what="publish")
            for outcome in answer.outcomes:
                self.wrote(outcome.positions)
                outcomes.append(plain(outcome))
        return outcomes

    def message(self, command: Any, id: str = "") -> commands_pb2.Command:
        """A command in its envelope. Its id is made here, so that trying again can't do it twice."""
        if isinstance(command, tuple):
            import orjson

            type_name = command[0]
            try:
                body = orjson.dumps(command[1])
            except TypeError as error:  # also of what is nested too deeply
                raise InvalidInput(f"{type_name}: can't be written as JSON: {error}") from None
            if b"null" in body and (found := next(not_finite(command[1]), None)):
                raise InvalidInput(f"{found[0]}: is {found[1]}; give a finite number")
        else:
            type_name = type(command).type_name()
            body = command.to_json()
        return commands_pb2.Command(
            id=id or new_id(), type=type_name, project=self.project, actor=self.actor, json=body
        )

    def _outcome(self, outcome: Any) -> Answer:
        self.wrote(outcome.positions)
        record = plain(outcome)
        if record.result == "rejected":
            raise refusal(record)
        if record.result == "published":
            raise Timeout(f"command {record.id} is in the log, but its outcome is not known yet; ask with the same id")
        return record

    def wrote(self, positions: Iterable[str]) -> None:
        """Note what was written, by its positions (``events.jobs/3@17``): queries of that context will see it."""
        for text in positions:
            place, _, offset = text.rpartition("@")
            context = place.split("/")[0].partition(".")[2]
            newest = self.written.setdefault(context, {})
            newest[place] = max(newest.get(place, -1), int(offset))

    # Queries

    def options(self, context: str, at: datetime | None) -> options_pb2.ReadOptions:
        """What every query carries: the moment, and this client's own writes. A moment may lie after them, and a name
        that one of them gave stands for what had none then."""
        written = self.written.get(context, {})
        options = options_pb2.ReadOptions(at_least=[f"{place}@{offset}" for place, offset in written.items()])
        if at is not None:
            options.as_of.CopyFrom(timestamp(at, "at"))
        return options

    async def ask(self, method: Any, request: Any, what: str) -> Any:
        """The answer of a stub's method; `what` is asked for, in words for an error."""
        return await self.connection.call(method, request, what=what)

    async def pages(self, method: Any, request: Any, field: str, what: str, limit: int | None) -> Rows[Any]:
        """Every row of a list (or the first `limit`), page by page. An answer may have more than its page asked for."""
        rows: Rows[Any] = Rows()
        while True:
            request.page.limit = PAGE if limit is None else min(PAGE, limit - len(rows))
            answer = await self.ask(method, request, what)
            rows.extend(plain(item) for item in getattr(answer, field))
            if not answer.next_cursor or (limit is not None and len(rows) >= limit):
                return Rows(rows[:limit])
            request.page.cursor = answer.next_cursor


class Namespace:
    """The calls of one context, as a client has them under its name.

    A subclass `AsyncNotes` in a module of its own, and two lines in `aio.py` (its import, and
    ``notes = namespace(AsyncNotes)``), give `AsyncClient.notes`; `make proto` makes `Notes` and `Client.notes` of it.
    """

    def __init__(self, core: Core) -> None:
        self._core = core


N = TypeVar("N", bound=Namespace)


class namespace(Generic[N]):
    """A client's namespace, made when it is first asked for.

    Of one whose class is not given, ``runs: namespace[AsyncRuns] = namespace()``, that is `AsyncRuns` of
    `forgelog.client.runs`: it is imported then, so that a program or a command loads what it uses.
    """

    def __init__(self, kind: type[N] | None = None) -> None:
        self._given = kind

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @property
    def kind(self) -> type[N]:
        """Its class."""
        if self._given is None:
            words = "".join(word.capitalize() for word in self._name.split("_"))
            self._given = getattr(import_module(f"forgelog.client.{self._name}"), f"Async{words}")
        return self._given

    @overload
    def __get__(self, client: None, owner: type) -> namespace[N]: ...
    @overload
    def __get__(self, client: Any, owner: type) -> N: ...
    def __get__(self, client: Any, owner: type) -> N | namespace[N]:
        if client is None:
            self.__doc__ = self.kind.__doc__  # who asks the class wants to know what there is
            return self
        made = self.kind(client._core)
        vars(client)[self._name] = made  # found there from now on
        return made


def _until(wait: Wait) -> Any:
    if wait not in (True, False, "conclusion"):
        raise InvalidInput(f"wait: is {wait!r}; give True, False or 'conclusion'")
    return commands_pb2.UNTIL_CONCLUSION if wait == "conclusion" else commands_pb2.UNTIL_OUTCOME


def refusal(outcome: Mapping[str, Any]) -> Refused:
    """A rejected outcome as an error."""
    rejection = outcome["rejection"]
    problems = [Problem(item["field"], item["problem"], item["hint"]) for item in rejection["errors"]]
    return Refused(rejection["code"], rejection["message"], problems, outcome["id"])
