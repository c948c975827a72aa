"""What the present code makes of a recorded history, held against what was recorded: field by field.

Fields that came later are added ones and no difference; what was recorded must all be there, in nothing changed but by
a `Change` that is named in `tests.golden.changes`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

MOST = 20
"""Differences that are told one by one."""

GONE = object()
"""What a `Change` gives for what is not there any more."""


@dataclass(frozen=True)
class Change:
    """Something that a later version does on purpose otherwise than the version that was recorded."""

    name: str
    """In a few words."""
    why: str
    """The reason, for readers who find the old meaning in a recording."""
    place: str
    """Where, as a pattern of `fnmatch`: ``rows/scheduling/queues/*/paused``; `*` stands for any text, slashes
    included. First ``states``, ``rows`` or ``answers``; then the kind (``jobs/0/states``, ``jobs/tasks``), the key and
    the fields."""
    now: Callable[[Any], Any]
    """What is recorded there → what is expected there now; `GONE` where nothing need be."""
    recordings: tuple[str, ...]
    """Names of the recordings that have the old meaning."""


class Comparison:
    """Compares a recording with what is made of it now."""

    def __init__(self, recording: str, changes: Sequence[Change]) -> None:
        self._changes = [change for change in changes if recording in change.recordings]
        self.used: set[str] = set()
        """Names of changes that something was expected by."""
        self.differences: list[str] = []
        self.additions: list[str] = []
        """Fields and kinds that the recording does not know."""

    def whole(self, what: str, recorded: Mapping[str, Any], present: Mapping[str, Any]) -> None:
        """Compare things by kind and key. Kinds may be added; of a kind that was recorded there are the same keys."""
        for kind, items in recorded.items():
            place = f"{what}/{kind}"
            items = self._expected(place, items)
            if items is GONE:
                continue
            kind = _present_kind(kind, present)
            place = f"{what}/{kind}"
            if kind not in present:
                self.differences.append(f"{place}: there is none any more")
                continue
            for key in items.keys() - present[kind].keys():
                if self._expected(f"{place}/{key}", items[key]) is not GONE:
                    self.differences.append(f"{place}/{key}: is lost; recorded was {_short(items[key])}")
            for key in present[kind].keys() - items.keys():
                self.differences.append(f"{place}/{key}: was not there; now it is {_short(present[kind][key])}")
            for key in items.keys() & present[kind].keys():
                self.value(f"{place}/{key}", items[key], present[kind][key])
        self.additions += [f"{what}/{kind}" for kind in present.keys() - recorded.keys()]

    def value(self, place: str, recorded: Any, present: Any) -> None:
        """Compare what lies at a place."""
        recorded = self._expected(place, recorded)
        if recorded is GONE:
            return
        if isinstance(recorded, dict) and isinstance(present, dict):
            for name, value in recorded.items():
                if name in present:
                    self.value(f"{place}/{name}", value, present[name])
                elif self._expected(f"{place}/{name}", value) is not GONE:
                    self.differences.append(f"{place}/{name}: is lost; recorded was {_short(value)}")
            self.additions += [f"{place}/{name}" for name in present.keys() - recorded.keys()]
        elif isinstance(recorded, list) and isinstance(present, list) and len(recorded) == len(present):
            for index, (old, new) in enumerate(zip(recorded, present, strict=True)):
                self.value(f"{place}/{index}", old, new)
        elif recorded != present:
            self.differences.append(f"{place}: recorded was {_short(recorded)}, now it is {_short(present)}")

    def _expected(self, place: str, recorded: Any) -> Any:
        for change in self._changes:
            if recorded is not GONE and fnmatchcase(place, change.place):
                self.used.add(change.name)
                recorded = change.now(recorded)
        return recorded

    def told(self, remedy: str) -> str:
        """The differences, and what to do."""
        told = sorted(self.differences)
        more = [f"... and {len(told) - MOST} more"] if len(told) > MOST else []
        return "\n  ".join([f"{len(told)} differences from what was recorded:", *told[:MOST], *more]) + f"\n{remedy}"


def _present_kind(kind: str, present: Mapping[str, Any]) -> str:
    """What a kind is called now. A context whose only kind of aggregate was ``states`` may have several by now: then
    that one is the first of ``states/shelf`` and the like, since others are added behind it."""
    if kind in present:
        return kind
    return next((each for each in present if each.startswith(f"{kind}/")), kind)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 300 else text[:297] + "..."
