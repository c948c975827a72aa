"""Names of a client's calls beside those of its namespaces: shortcuts that stay, and names of the last release.

Knows no call.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from operator import attrgetter
from typing import Any, Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def shortcut(home: str, call: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], R]:
    """A method of the client that is the call of that name of its namespace `home`."""
    found = attrgetter(f"{home}.{call.__name__}")

    @functools.wraps(call)
    def method(client: Any, /, *args: P.args, **named: P.kwargs) -> R:
        result: R = found(client)(*args, **named)
        return result

    return method


def moved(home: str, call: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], R]:
    """As `shortcut`, of the last release: each call gives a DeprecationWarning that names the new one."""
    return renamed(f"{home}.{call.__name__}", shortcut(home, call))


def renamed(new: str, call: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], R]:
    """A method that is `call` of the same object, which ``client.{new}`` is now."""

    @functools.wraps(call)
    def method(self: Any, /, *args: P.args, **named: P.kwargs) -> R:
        warnings.warn(
            f"this has moved to client.{new}(...); its old name goes with the next release",
            DeprecationWarning,
            stacklevel=2,
        )
        return call(self, *args, **named)

    return method
