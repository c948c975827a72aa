"""What every model, command and event of the language shares: immutability, bounds, names on the wire.

Knows nothing of Kafka, Postgres or gRPC. A command or an event names its context and version; its type on the wire is
``forgelog.<context>.v<version>.<ClassName>`` (CloudEvents 1.0 ``type``). It also names two aggregates: the one that it
is about, and the one whose single writer decides it. Often they are the same (a job). `AllocationBound` is about an
allocation and is decided by its pool.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema

from events.language.bounds import bounded

_read: set[type] = set()
"""Classes whose annotations are read once and for all."""


def _read_annotations(cls: type) -> None:
    """Put types in place of the words of a class's annotations, as far as they can be told by now.

    Pydantic reads those of every base again for each class below it. That was a sixth of the time in which the language
    is imported, and so of the start of every process."""
    if cls in _read:
        return
    _read.add(cls)
    names = vars(sys.modules[cls.__module__])
    annotations = vars(cls).get("__annotations__", {})
    for name, words in annotations.items():
        if isinstance(words, str):
            try:
                annotations[name] = eval(words, names)
            except NameError:  # of a class that comes later, or that type checkers alone import: it stays as it is
                continue


class Model(BaseModel):
    """A frozen value object. Unknown fields, NaN and infinities are refused. The text below a field is its description:
    see `events.language.descriptions`.

    Pydantic makes a class's validator when it is first used: a process uses some of the language's classes only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        for base in cls.__mro__[1:]:
            if issubclass(base, Model):
                _read_annotations(base)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Every field's values are held to `events.language.bounds`."""
        schema: CoreSchema = bounded(handler(source), cls)
        return schema

    def to_json(self) -> bytes:
        """JSON without the fields that have their defaults, as most have (a third of the size)."""
        return self.__pydantic_serializer__.to_json(self, exclude_defaults=True)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Itself: a value needs no copy. (Pydantic would copy every default that is a model, at 20 µs each.)"""
        return self

    def __eq__(self, other: object) -> bool:
        return self is other or super().__eq__(other)

    def __hash__(self) -> int:
        """Also of a value that holds a dict: pydantic copies a default that has no hash, each time it is used."""
        try:
            return hash((type(self), *self.__dict__.values()))
        except TypeError:
            return hash(type(self))


class Message(Model):
    """What commands and events share; not used directly."""

    context: ClassVar[str]
    version: ClassVar[int] = 1
    aggregate: ClassVar[str]
    """Kind of the aggregate that this is about, such as ``job``. A kind has one meaning in all contexts: scheduling's
    events about jobs are part of the same history as those of jobs."""
    subject_from: ClassVar[str]
    """The field that holds the id of that aggregate."""
    decided_by: ClassVar[str] = ""
    """Kind of the aggregate whose single writer decides this; empty: `aggregate` itself."""
    key_from: ClassVar[str]
    """The field that holds the id of the deciding aggregate: the partition key, and the key of the decider's state."""

    @classmethod
    def decider_kind(cls) -> str:
        """The kind of aggregate whose single writer decides this, such as ``queue``."""
        return cls.decided_by or cls.aggregate

    @classmethod
    def type_name(cls) -> str:
        """The CloudEvents type, such as ``forgelog.jobs.v1.SubmitJob``."""
        return f"forgelog.{cls.context}.v{cls.version}.{cls.__name__}"

    @classmethod
    @cache
    def names_project(cls) -> bool:
        """Whether it has a field `project`."""
        return "project" in cls.model_fields

    def subject(self) -> str:
        """The id of the aggregate this is about; empty when the sender left it to be assigned."""
        value: Any = getattr(self, self.subject_from)
        return value or ""

    def key(self) -> str:
        """The partition key; empty when the sender left it to be assigned."""
        value: Any = getattr(self, self.key_from)
        return value or ""


class Command(Message):
    """A wish. It is decided once and becomes events, or a `CommandRejected`."""

    quiet: ClassVar[bool] = False
    """A quiet command that changes nothing leaves no trace in the log (heartbeats)."""

    by_agents: ClassVar[bool] = False
    """Whether a node's agent sends it, as the actor ``node:ID``. All others are the owner's."""

    assigns_id: ClassVar[bool] = False
    """Whether an empty subject is filled with an id derived from the command's `ce_id` (creating commands)."""

    id_prefix: ClassVar[str] = ""
    """How such ids begin: lower-case letters and digits, a letter first. Each kind of aggregate has its own."""

    named_by: ClassVar[str] = ""
    """The field whose value such an id is, with the ending of the project's ids, in place of one that is derived: a
    name that is given once in a project. A value has no dot, so that no two projects have one id."""

    concluded_by: ClassVar[tuple[type[Event], ...]] = ()
    """For a creating command of several steps: the later events about its aggregate, of any context, that conclude the
    creation. The first one counts (see `Event.refusal`), and a caller may wait for it. Empty: no conclusion."""

    def objects(self) -> Sequence[tuple[str, Any]]:
        """The objects (`ObjectRef`) that must be in the store before this is sent, each with the field that names it.
        A gateway refuses what names others. It is not looked at in commands that come by Kafka."""
        return ()


class Event(Message):
    """A fact. Never edited; a changed shape, or a changed default, is a new version plus an upcaster."""

    __slots__ = ("_json",)  # no field: neither compared nor copied

    begins: ClassVar[bool] = False
    """Whether the aggregate that it is about begins with it, or begins once more (a node is registered again): it is
    from then on what this event's record says, such as of that project."""

    def refusal(self) -> str:
        """Of an event that concludes a command (`Command.concluded_by`): why what was asked for will not be. Empty: it
        is as was asked for."""
        return ""


_json: Any = vars(Event)["_json"]
keep_json: Callable[[Event, bytes], None] = _json.__set__
"""Note the JSON (`bytes`) that an event was read from or written as. A copy of the event does not know it."""
_kept: Callable[[Event], bytes] = _json.__get__


def kept_json(event: Event) -> bytes | None:
    """The JSON that the event was read from or written as; None if it was neither."""
    try:
        return _kept(event)
    except AttributeError:
        return None
