"""Endpoints by method and path, some of whose parts are values: ``logged-models/{model_id}/tags``. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Generic, TypeVar

_VALUE = re.compile(r"\{(\w+)(:path)?\}")

E = TypeVar("E")


class Paths(Generic[E]):
    """Finds the endpoint of a request. ``{name}`` is one part of a path, ``{name:path}`` all that is left of it."""

    def __init__(self, endpoints: Mapping[tuple[str, str], E]) -> None:
        self._plain = {key: endpoint for key, endpoint in endpoints.items() if "{" not in key[1]}
        self._patterns = [
            (method, _pattern(path), endpoint) for (method, path), endpoint in endpoints.items() if "{" in path
        ]

    def find(self, method: str, path: str) -> tuple[E, dict[str, str]] | None:
        """The endpoint and the values in the path; None if there is none. HEAD is answered as GET is."""
        method = "GET" if method == "HEAD" else method
        if (endpoint := self._plain.get((method, path))) is not None:
            return endpoint, {}
        for of, pattern, each in self._patterns:
            if of == method and (found := pattern.fullmatch(path)) is not None:
                return each, found.groupdict()
        return None


def _pattern(path: str) -> re.Pattern[str]:
    written, at = "", 0
    for found in _VALUE.finditer(path):
        written += re.escape(path[at : found.start()])
        written += f"(?P<{found[1]}>.*)" if found[2] else f"(?P<{found[1]}>[^/]+)"
        at = found.end()
    return re.compile(written + re.escape(path[at:]), re.DOTALL)
