"""Where an aggregate comes from: whose it is, and which flow began it. All of its events carry that on.

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
    """Project and actor of what a record with these begins; the same objects in thousands of aggregates."""
    return project or DEFAULT_PROJECT, PLATFORM_ACTOR if actor.startswith(NODE_ACTOR) else actor or DEFAULT_ACTOR


class Provenance(NamedTuple):
    """Of one aggregate."""

    project: str
    actor: str
    """Who made it. `PLATFORM_ACTOR` for what a node's agent made: what becomes of it is not that agent's doing."""
    correlation: str = ""
    """Id of the command that began the flow that made it; empty when none did."""
    traceparent: str = ""
    """W3C Trace Context of that flow."""
    origin: str = ""
    """The aggregate of another context that ordered it, as ``context/kind/id``; empty when none did."""

    @classmethod
    def first(cls, project: str, actor: str, correlation: str, traceparent: str, origin: str) -> Provenance:
        """Of an aggregate whose first event carries these; an empty project or actor is the default one."""
        return _new(cls, (*_owner(project, actor), correlation, traceparent, origin))  # a third of what cls() takes

    @classmethod
    def of(cls, raw: Raw) -> Provenance:
        """Of an aggregate whose first event is this record."""
        texts = raw.texts(_HEADERS)
        if texts is None:  # it has what no table can hold, and is read with replacements
            meta = raw.event_meta()
            texts = meta.project, meta.actor, meta.correlation, meta.traceparent, meta.origin
        project, actor, correlation, traceparent, origin = texts
        return _new(cls, (*_owner(project, actor), correlation, traceparent, origin))
