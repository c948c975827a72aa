"""The provenance of an aggregate: its project, its actor, and the flow that began it. All of its events carry them.

It is taken from the aggregate's first event, so it can be folded from any log. No I/O.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, TypeAlias

from events.language.common import DEFAULT_ACTOR, DEFAULT_PROJECT, NODE_ACTOR, PLATFORM_ACTOR
from events.log.wire import Raw

Subject: TypeAlias = tuple[str, str]
"""Kind and id of an aggregate."""

_HEADERS = ("ce_project", "ce_actor", "ce_correlationid", "traceparent", "ce_origin")

_new = tuple.__new__


@lru_cache(maxsize=10_000)
def _owner(project: str, actor: str) -> tuple[str, str]:
    """Project and actor of the aggregate that a record begins. Cached, so that thousands of aggregates share them."""
    return project or DEFAULT_PROJECT, PLATFORM_ACTOR if actor.startswith(NODE_ACTOR) else actor or DEFAULT_ACTOR


class Provenance(NamedTuple):
    """The provenance of one aggregate."""

    project: str
    actor: str
    """The actor that made it. `PLATFORM_ACTOR` if a node's agent made it: later events are not that agent's doing."""
    correlation: str = ""
    """Id of the command that began the flow that made it; empty if no command did."""
    traceparent: str = ""
    """W3C Trace Context of that flow."""
    origin: str = ""
    """The aggregate of another context that ordered it, as ``context/kind/id``; empty if none did."""

    @classmethod
    def first(cls, project: str, actor: str, correlation: str, traceparent: str, origin: str) -> Provenance:
        """The provenance from the attributes of a first event; an empty project or actor stands for the default."""
        return _new(cls, (*_owner(project, actor), correlation, traceparent, origin))  # a third of what cls() takes

    @classmethod
    def of(cls, raw: Raw) -> Provenance:
        """The provenance of the aggregate whose first event is this record."""
        texts = raw.texts(_HEADERS)
        if texts is None:  # a header has characters that no table can hold: `event_meta` replaces them
            meta = raw.event_meta()
            texts = meta.project, meta.actor, meta.correlation, meta.traceparent, meta.origin
        project, actor, correlation, traceparent, origin = texts
        return _new(cls, (*_owner(project, actor), correlation, traceparent, origin))


NOBODYS = Provenance(DEFAULT_PROJECT, PLATFORM_ACTOR)
"""The provenance of an aggregate that no event is about."""
