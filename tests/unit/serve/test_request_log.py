"""What is written down of requests, and what is not."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from events.language.deployments.serving import RequestLogging
from forgelog.serve.problems import NotServable
from forgelog.serve.request_log import RequestLog


def written(settings: dict[str, Any], **changes: Any) -> Any:
    lines: list[bytes] = []
    log = RequestLog(RequestLogging.model_validate(settings), write=lines.append)
    entry: dict[str, Any] = {
        "request": "7",
        "protocol": "rest",
        "code": "ok",
        "error": "",
        "milliseconds": 1.25,
        "inputs": {"name": np.array([b"Ada Lovelace"], dtype=object), "age": np.array([36])},
        "outputs": {"score": np.array([0.5], np.float32)},
        "parameters": {"token": "abc", "nested": {"password": "p", "plain": ["card 1234-5678"]}},
    }
    log.write(**{**entry, **changes})
    (line,) = lines
    assert line.endswith(b"\n")
    return json.loads(line)


def test_without_values_unless_they_are_asked_for() -> None:
    entry = written({"sample": 1})
    assert entry.keys() == {"time", "kind", "id", "protocol", "code", "ms"}
    assert (entry["id"], entry["ms"]) == ("7", 1.25)


def test_inputs_and_outputs() -> None:
    entry = written({"requests": True, "responses": True})
    assert entry["inputs"] == {"name": ["Ada Lovelace"], "age": [36]}
    assert entry["outputs"] == {"score": [0.5]}


def test_names_are_redacted_wherever_they_are() -> None:
    entry = written({"requests": True, "redact": ["name", "tok*", "password"]})
    assert entry["inputs"] == {"name": "[redacted]", "age": [36]}
    assert entry["parameters"] == {
        "token": "[redacted]",
        "nested": {"password": "[redacted]", "plain": ["card 1234-5678"]},
    }


def test_patterns_are_redacted_in_any_text_also_of_ids_and_errors() -> None:
    settings = {"requests": True, "redact_patterns": [r"\d{4}-\d{4}", "Ada"]}
    entry = written(settings, request="1234-5678", error="no such card 1234-5678")
    assert entry["inputs"]["name"] == ["[redacted] Lovelace"]
    assert entry["parameters"]["nested"]["plain"] == ["card [redacted]"]
    assert (entry["id"], entry["error"]) == ("[redacted]", "no such card [redacted]")


def test_a_long_entry_has_no_values() -> None:
    entry = written({"requests": True, "max_bytes": 200}, inputs={"text": np.array([b"x" * 300], dtype=object)})
    assert "inputs" not in entry
    assert entry["left_out"].endswith(" bytes")


def test_bytes_that_are_no_text_are_not_written() -> None:
    entry = written({"requests": True}, inputs={"image": np.array([b"\xff\xd8"], dtype=object)})
    assert entry["inputs"] == {"image": "bytes [1]"}


@pytest.mark.parametrize(
    ("settings", "chance", "ours", "wanted"),
    [
        ({}, 0.0, False, False),
        ({}, 0.99, True, True),
        ({"errors": False}, 0.0, True, False),
        ({"sample": 0.1}, 0.05, False, True),
        ({"sample": 0.1}, 0.2, False, False),
    ],
)
def test_a_share_is_written_and_every_failure_of_ours(
    settings: dict[str, Any], chance: float, ours: bool, wanted: bool
) -> None:
    assert RequestLog(RequestLogging.model_validate(settings), chance=lambda: chance).wants(ours) is wanted


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(NotServable, match="is no pattern"):
        RequestLog(RequestLogging(redact_patterns=("(",)))
