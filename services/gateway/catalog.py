"""What can be asked and sent, by the protobuf descriptors in `forgelog_pb`: services, methods, messages.

A new context's queries are found by being there; nothing is listed by hand. Knows no connection.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pkgutil import walk_packages
from typing import Any

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

import forgelog_pb

LOG_QUERIES = "forgelog.log.v1.LogQueries"
"""Every context serves it for itself; requests name the context in their field 1."""

_QUERIES = re.compile(r"forgelog\.([a-z][a-z0-9_]*)\.v\d+\.\w+Queries")


class Unknown(LookupError):
    """There is no such service or method; the text says what there is."""


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a query service."""

    service: str
    """Full name, such as ``forgelog.jobs.v1.JobQueries``."""
    name: str
    context: str
    """Which context answers it; empty where the request says it."""
    request: type[Message]
    response: type[Message]
    streams: bool
    """Whether it answers with a stream."""
    options: MethodOptions
    """Of the rpc, as its `.proto` file has them."""

    @property
    def path(self) -> str:
        """As gRPC writes it: ``/forgelog.jobs.v1.JobQueries/GetJob``."""
        return f"/{self.service}/{self.name}"


class Catalog:
    """Built once at start."""

    def __init__(self) -> None:
        self.methods: dict[str, Method] = {}
        """By gRPC path."""
        self.services: dict[str, str] = {}
        """Full name of every query service → its context."""
        self._short: dict[str, list[str]] = {}
        for service in _services():
            self._add(service)

    def _add(self, service: ServiceDescriptor) -> None:
        match = _QUERIES.fullmatch(service.full_name)
        if match is None:
            return
        context = "" if service.full_name == LOG_QUERIES else match[1]
        self.services[service.full_name] = context
        self._short.setdefault(service.name, []).append(service.full_name)
        for method in service.methods:
            if not method.client_streaming:
                found = _method(service.full_name, context, method)
                self.methods[found.path] = found

    def by_path(self, path: str) -> Method:
        """Raises Unknown."""
        found = self.methods.get(path)
        if found is not None:
            return found
        close = difflib.get_close_matches(path, list(self.methods), 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise Unknown(f"there is no query {path}{hint}")

    def find(self, service: str, method: str) -> Method:
        """By the service's full name, or its short one where only one context has it. Raises Unknown."""
        full = self._short.get(service, [service])
        if len(full) > 1:
            raise Unknown(f"{service!r} is ambiguous; write {' or '.join(full)}")
        if full[0] not in self.services:
            names = [*self._short, *self.services]
            close = difflib.get_close_matches(service, names, 1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(self._short))}"
            raise Unknown(f"there is no query service {service!r}; {hint}")
        found = self.methods.get(f"/{full[0]}/{method}")
        if found is None:
            names = [each.name for each in self.methods.values() if each.service == full[0]]
            close = difflib.get_close_matches(method, names, 1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"
            raise Unknown(f"{full[0]} has no method {method!r}; {hint}")
        return found

    @staticmethod
    def message_class(full_name: str) -> type[Message]:
        """The generated class of a message such as ``forgelog.jobs.v1.SubmitJob``. Raises KeyError."""
        return GetMessageClass(Default().FindMessageTypeByName(full_name))


def _services() -> Iterator[ServiceDescriptor]:
    for module in walk_packages(forgelog_pb.__path__, "forgelog_pb."):
        if module.name.endswith("_pb2"):
            descriptor: Any = import_module(module.name).DESCRIPTOR
            yield from descriptor.services_by_name.values()


def _method(service: str, context: str, method: MethodDescriptor) -> Method:
    return Method(
        service,
        method.name,
        context,
        GetMessageClass(method.input_type),
        GetMessageClass(method.output_type),
        bool(method.server_streaming),
        method.GetOptions(),
    )
