"""What became of what people were to be told, as the queries of all contexts answer it.

What people are told of, and on which channels, is the context's own: alerts of deployments, notifications of pipelines.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from events.language.base import Model
from events.language.common import Identifier, Timestamp


class DeliveryState(StrEnum):
    """What became of a notice on a channel."""

    WAITING = "waiting"
    """It is to be tried, for the first time or again."""
    DELIVERED = "delivered"
    """The other side has taken it."""
    GIVEN_UP = "given_up"
    """Each try has failed; it is not tried again."""
    PASSED_OVER = "passed_over"
    """It was a day old before it could be tried."""


class NoticeDelivery(Model):
    """One notice on one channel, and what became of it."""

    notice_id: Identifier
    """Of the event that it tells of; the same for each try, and on each channel."""
    channel: Identifier
    """As its name is among the channels that were set then."""
    kind: str
    """How it is told: ``log``, ``webhook`` or ``email``."""
    project: str
    aggregate: str
    """What it is about: ``deployment``, ``pipeline`` or ``dataset``."""
    subject: Identifier
    """The id of that."""
    name: str
    type: str
    """Such as ``alert.fired`` or ``run.failed``."""
    severity: str
    """``info``, ``warning`` or ``critical``."""
    summary: str
    """What is told, in a sentence."""
    state: DeliveryState
    tries: Annotated[int, Field(ge=0, lt=1 << 31)] = 0
    """How often it was tried."""
    error: str = ""
    """What was wrong with the last try."""
    happened_at: Timestamp
    tried_at: Timestamp | None = None
    """When it was tried last."""
    due_at: Timestamp | None = None
    """When it is tried next."""
    delivered_at: Timestamp | None = None
