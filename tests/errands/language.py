"""What is said of errands."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from events.language.base import Command, Event
from events.language.common import Identifier, OptionalIdentifier


class Outcome(StrEnum):
    """How an errand ended."""

    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"


class ErrandEvent(Event):
    context: ClassVar[str] = "errands"
    aggregate: ClassVar[str] = "errand"
    subject_from: ClassVar[str] = "errand_id"
    key_from: ClassVar[str] = "errand_id"

    errand_id: Identifier


class ErrandAsked(ErrandEvent):
    """The errand begins, with the order of its job."""

    begins: ClassVar[bool] = True

    job_id: Identifier
    command: str = ""
    user: str = ""
    like: OptionalIdentifier = ""


class ErrandAccepted(ErrandEvent):
    """Its job is there."""


class ErrandStarted(ErrandEvent):
    """Its job runs."""

    node_id: Identifier


class ErrandEnded(ErrandEvent):
    """Its job has ended, or never was."""

    outcome: Outcome
    reason: str = ""

    def refusal(self) -> str:
        return self.reason if self.outcome is Outcome.REFUSED else ""


class RunErrand(Command):
    """Have a job run. An empty `errand_id` is assigned from the command's id."""

    context: ClassVar[str] = "errands"
    aggregate: ClassVar[str] = "errand"
    subject_from: ClassVar[str] = "errand_id"
    key_from: ClassVar[str] = "errand_id"
    assigns_id: ClassVar[bool] = True
    id_prefix: ClassVar[str] = "x"
    concluded_by: ClassVar[tuple[type[Event], ...]] = (ErrandAccepted, ErrandEnded)

    errand_id: OptionalIdentifier = ""
    command: str = ""
    like: OptionalIdentifier = ""
    """A job that is asked for its command, which is run again."""
    user: str = ""
    """Of the job: no platform acts on it yet, so such a job is refused."""


class DropErrand(Command):
    """There is nothing to run. The errand orders it of itself."""

    context: ClassVar[str] = "errands"
    aggregate: ClassVar[str] = "errand"
    subject_from: ClassVar[str] = "errand_id"
    key_from: ClassVar[str] = "errand_id"

    errand_id: Identifier
    reason: str
