"""A CloudEvent as a command: what it may have, whether or not the platform takes a meaning from it."""

from __future__ import annotations

from typing import Any

import pytest

from services.gateway.errors import DoorError
from services.gateway.http_commands import CLOUDEVENT_IGNORED, CLOUDEVENT_KEYS, _structured

EVENT: dict[str, Any] = {"specversion": "1.0", "type": "SubmitJob", "data": {}}
ATTRIBUTES = sorted((CLOUDEVENT_IGNORED | CLOUDEVENT_KEYS.keys()) - {"specversion"})


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_an_attribute_is_text_or_left_out(name: str) -> None:
    _structured({**EVENT, name: "text"})
    _structured({**EVENT, name: None})
    for wrong in (0, False, [], {}):
        with pytest.raises(DoorError) as caught:
            _structured({**EVENT, name: wrong})
        assert [error.field for error in caught.value.errors] == [name]
