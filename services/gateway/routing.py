"""Finds the route of a request among those whose paths begin as its own does. Knows no path.

Starlette compares a path with every route in turn. The gateway has well over a hundred, and the last ones are those
that are asked most.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.routing import Match, Route, Router
from starlette.types import Receive, Scope, Send


class Routing(Router):
    """A router that gives each request to the route that Starlette's would give it to. What no route takes is answered
    by Starlette's, which compares all."""

    def __init__(self, routes: Sequence[Route]) -> None:
        """`routes`: in the order in which they count. Raises ValueError for a path that does not begin with a word."""
        super().__init__(routes, redirect_slashes=False)
        words = [(route, *_words(route.path)) for route in routes]
        self._by_one = {
            first: tuple(route for route, at, then in words if at == first and then is None) for _, first, _ in words
        }
        self._by_two = {
            (first, second): tuple(route for route, at, then in words if at == first and then in (second, None))
            for _, first, second in words
            if second is not None
        }

    def candidates(self, path: str) -> Sequence[Route]:
        """The routes that may take a path, in their order; none for a path that begins as none of theirs does."""
        first, _, rest = path.removeprefix("/").partition("/")
        found = self._by_two.get((first, rest.partition("/")[0]))
        return self._by_one.get(first, ()) if found is None else found

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            for route in self.candidates(scope["path"]):
                match, child_scope = route.matches(scope)
                if match is Match.FULL:
                    scope["router"], scope["route"] = self, route
                    scope.update(child_scope)
                    await route.handle(scope, receive, send)
                    return
        await super().app(scope, receive, send)


def _words(path: str) -> tuple[str, str | None]:
    """The first two parts of a route's path; None for a second one that is not there, or is no word."""
    first, _, rest = path.removeprefix("/").partition("/")
    if "{" in first:
        raise ValueError(f"the route {path} begins with a variable; begin it with a word")
    second = rest.partition("/")[0]
    return first, None if not second or "{" in second else second
