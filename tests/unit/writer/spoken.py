"""Messages that are in the language for one test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from events.language import registry
from events.language.base import Command, Message
from events.log import wire


@contextmanager
def spoken(messages: Iterable[type[Message]], patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have these messages in the registry until the context, and the test with its `patch`, is over."""
    for message in messages:
        kinds: Any = registry._COMMANDS if issubclass(message, Command) else registry._EVENTS
        patch.setitem(kinds, message.type_name(), message)
        patch.setitem(registry._ALL, message.type_name(), message)
    wire._validators.cache_clear()
    yield
    wire._validators.cache_clear()
