"""JSON texts that would cost much to read: refused in words, and soon, by what every door reads commands with."""

from __future__ import annotations

import pytest

from events.language.common import MAX_COMMAND_BYTES, ErrorCode, Refused
from events.language.jobs import SubmitJob
from events.language.problems import decode_command
from events.log.repeats import refuse_repeats
from services.gateway.errors import DoorError
from services.gateway.http_bodies import json_of

DEEP = MAX_COMMAND_BYTES // 4
BOMBS = {
    "lists": b'{"job_id": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "never closed": b"[" * DEEP,
    "a long number": b'{"job_id": ' + b"9" * DEEP + b"}",
    "a long number below 0": b'{"job_id": -' + b"9" * DEEP + b"}",
    "a long fraction": b'{"job_id": 1' + b"0" * DEEP + b".5}",
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_it_is_refused(bomb: bytes) -> None:
    refuse_repeats(bomb)  # says nothing of what is no JSON, and comes to an end
    with pytest.raises(Refused) as refused:
        decode_command(SubmitJob.type_name(), bomb)
    assert refused.value.code is ErrorCode.INVALID_ARGUMENT
    assert len(refused.value.message) < 300
    with pytest.raises(DoorError, match="the body is not JSON"):
        json_of(bomb)
