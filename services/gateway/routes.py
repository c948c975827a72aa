"""The paths of HTTP that are a query each, as the options of the queries' rpcs give them. Knows no query.

`google.api.http` gives an rpc its path, and `additional_bindings` further ones. A path's parts in braces, and the URL's
parameters, are fields of the request; ``as_of``, ``at_least``, ``limit`` and ``cursor`` are taken wherever the query
has them. `forgelog.query.v1.http` says what is particular about a path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from google.api.annotations_pb2 import http as bindings  # type: ignore[import-untyped]
from google.protobuf.descriptor import FieldDescriptor

from forgelog_pb.query.v1 import options_pb2
from forgelog_pb.summaries import SUMMARIES
from services.gateway.catalog import Catalog, Method
from services.gateway.errors import DoorError
from services.gateway.transcode import request_from_parameters

OWN_PARTS = ("commands", "query", "objects")
"""First parts of paths below ``/v1`` that are the gateway's own."""

_PATH = re.compile(r"/v1(/([a-z][a-z0-9_-]*|\{[a-z][a-z0-9_]*\}))+")
_VARIABLE = re.compile(r"\{(\w+)\}")


class RouteError(ValueError):
    """What an rpc's options say is no path; the text names the rpc, the path, what is wrong with it, and what to do."""


@dataclass(frozen=True, slots=True)
class QueryRoute:
    """One path, asked by GET."""

    path: str
    """Such as ``/v1/jobs/{job_id}/logs``."""
    method: Method
    summary: str
    """What it answers, in a sentence."""
    fixed: Mapping[str, str]
    """Fields of the request that the path sets, with their values as a URL has them."""
    form: Literal["json", "text"]
    """``text``: the bytes in the field `data` of a stream's answers are written as they come."""

    @property
    def variables(self) -> tuple[str, ...]:
        """Fields of the request that are parts of the path, in its order."""
        return tuple(_VARIABLE.findall(self.path))


def query_routes(catalog: Catalog) -> tuple[QueryRoute, ...]:
    """The paths of all queries, in the order in which a request is compared with them: part by part, a word before what
    takes any. Raises RouteError."""
    found: dict[str, QueryRoute] = {}
    for method in catalog.methods.values():
        for route in routes_of(method, SUMMARIES.get(f"{method.service}.{method.name}", "")):
            shape = _VARIABLE.sub("{}", route.path)
            if shape in found:
                raise _wrong(method, route.path, f"is a path of {found[shape].method.name} too", "choose another")
            found[shape] = route
    return tuple(sorted(found.values(), key=_order))


def routes_of(method: Method, summary: str) -> Iterator[QueryRoute]:
    """The paths that a query's options give it; none if it has no such option. `summary` is said of a path that says
    nothing itself. Raises RouteError."""
    if not method.options.HasExtension(bindings):
        return
    extensions: Any = method.options.Extensions
    rule, more = extensions[bindings], dict[str, Any]()
    for entry in extensions[options_pb2.http]:
        if entry.path in more:
            raise _wrong(method, entry.path, "has two entries in forgelog.query.v1.http", "make them one")
        more[entry.path] = entry
    for each in (rule, *rule.additional_bindings):
        if each.WhichOneof("pattern") != "get" or each.body or each.response_body:
            raise _wrong(method, "", "has a binding that is more or other than get", "a query has get: alone")
        yield _route(method, each.get, more.pop(each.get, options_pb2.HttpPath()), summary)
    for path in more:
        raise _wrong(method, path, "is in forgelog.query.v1.http alone", "give it to google.api.http, too")


def _route(method: Method, path: str, more: Any, summary: str) -> QueryRoute:
    text = more.form == options_pb2.HTTP_FORM_TEXT
    route = QueryRoute(path, method, more.summary or summary, dict(more.fixed), "text" if text else "json")
    if not _PATH.fullmatch(path):
        hint = "write /v1/ and then words in small letters, or fields of the request in braces, between slashes"
        raise _wrong(method, path, "is no path that is taken", hint)
    if path.split("/")[2] in OWN_PARTS:
        raise _wrong(method, path, "is the gateway's own", "begin it with another word")
    fields: Any = method.request.DESCRIPTOR.fields_by_name
    for name in route.variables:
        if name not in fields or fields[name].message_type is not None:
            hint = f"name a field of {method.request.DESCRIPTOR.name} that is no message"
            raise _wrong(method, path, f"has {{{name}}}, which is no such field", hint)
        if name in route.fixed or route.variables.count(name) > 1:
            raise _wrong(method, path, f"sets {name} twice", "set it once, by the path or in fixed")
    try:
        request_from_parameters(route.fixed.items(), method.request)
    except DoorError as error:
        first = error.errors[0]
        raise _wrong(
            method, path, f"sets {first.field}: {first.problem}", first.hint or "leave it out of fixed"
        ) from None
    if text and not _has_data(method):
        raise _wrong(method, path, "can't be text", "that is for streams whose answers have a field `bytes data`")
    if not route.summary:
        raise _wrong(method, path, "has no summary", "write a comment above the rpc; its first sentence is the summary")
    return route


def _has_data(method: Method) -> bool:
    field: Any = method.response.DESCRIPTOR.fields_by_name.get("data")
    return method.streams and field is not None and field.type == FieldDescriptor.TYPE_BYTES


def _order(route: QueryRoute) -> tuple[Any, ...]:
    parts = route.path.split("/")
    return [("{" in part, "" if "{" in part else part) for part in parts], route.path


def _wrong(method: Method, path: str, problem: str, hint: str) -> RouteError:
    return RouteError(f"{method.service}.{method.name}: {f'{path} ' if path else ''}{problem}; {hint}")
