"""Messages that are in the language for one test."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from events.language import registry
from events.language.base import Command, Message


def speak(messages: Iterable[type[Message]], patch: pytest.MonkeyPatch) -> None:
    """Have these messages in the registry until the test, with its `patch`, is over."""
    for message in messages:
        kinds: Any = registry._COMMANDS if issubclass(message, Command) else registry._EVENTS
        patch.setitem(kinds, message.type_name(), message)
        patch.setitem(registry._ALL, message.type_name(), message)
