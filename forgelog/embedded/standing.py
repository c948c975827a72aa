"""Records at which places stand still: no wait helps, a person has to decide. Must not know how services are asked, or
how results are shown.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from forgelog.embedded.process import EmbeddedError

LOOK_SECONDS = 5.0
"""Between two looks. What stands at both is told of: a service may just be trying again."""


@dataclass(slots=True)
class Standstill:
    """A record, and who stands still at it."""

    position: str
    cause: str
    record: str = ""
    """Its type and id, as far as they can be read."""
    places: list[str] = field(default_factory=list)
    """With their contexts in front."""


def position_in(why: str, stopped: Mapping[str, str]) -> str:
    """Which of the records at which a context has `stopped` is why a place of it waits; empty for none."""
    return next((at for at in stopped if f"at {at} (" in why), "")


def standstills(contexts: Iterable[Mapping[str, Any]]) -> list[Standstill]:
    """The records at which contexts stand still, as `forgelog.embedded.contexts` tells of them, in order of position.
    How far a reader is behind for that is not told again: its place has stopped."""
    found: dict[tuple[str, str], Standstill] = {}
    for each in contexts:
        waits = [(place, why, at) for place, why in each["waits"].items() if (at := position_in(why, each["stopped"]))]
        direct = {at for _, why, at in waits if why.startswith(f"at {at} (")}
        for place, why, at in waits:
            if at in direct and not why.startswith(f"at {at} ("):
                continue
            cause = each["stopped"][at]
            one = found.setdefault((at, cause), Standstill(at, cause))
            one.record = one.record or why.partition(f"at {at} (")[2].partition(f"): {cause}")[0]
            one.places.append(f"{each['context']}: {place}")
    return [found[key] for key in sorted(found)]


class Standing:
    """`ask` gives how the contexts fare; see `forgelog.embedded.contexts`."""

    def __init__(self, ask: Callable[[], Awaitable[list[dict[str, Any]]]]) -> None:
        self._ask = ask
        self._looked = -math.inf
        self._known: frozenset[str] = frozenset()

    async def look(self, waited: float) -> None:
        """After `waited` seconds. Raises EmbeddedError with the records that stood there at the last look, too."""
        if waited < LOOK_SECONDS or waited - self._looked < LOOK_SECONDS:
            return
        self._looked = waited
        found: Mapping[str, str] = {at: why for each in await self._ask() for at, why in each["stopped"].items()}
        if both := sorted(self._known & found.keys()):
            raise EmbeddedError(
                "the platform runs, but places stand still at a record that can't be read or does not fold:\n"
                + "".join(f"  {at}: {found[at]}\n" for at in both)
                + "'forgelog repair' shows them and what to do; once that is decided, the places go on by themselves"
            )
        self._known = frozenset(found)
