"""Ids: new command ids, and aggregate ids derived from a command's id so that a repeat names the same aggregate."""

from __future__ import annotations

import base64
import os
import time

from blake3 import blake3

from events.language.base import Command


def new_command_id() -> str:
    """A fresh id that sorts by time: 10 hex digits of milliseconds and 16 of randomness (like UUIDv7, shorter)."""
    return f"{time.time_ns() // 1_000_000:011x}{os.urandom(8).hex()}"


def derived_id(prefix: str, command_id: str) -> str:
    """The aggregate id that a creating command with this `ce_id` gets: `prefix` and 13 base-32 digits (65 bits)."""
    digits = base64.b32encode(blake3(command_id.encode()).digest(9)).decode().lower()
    return f"{prefix}{digits[:13]}"


def with_assigned_id(command: Command, command_id: str) -> Command:
    """The command with its aggregate's id filled in, if it is a creating one that left it empty."""
    if type(command).assigns_id and not command.subject():
        assigned = derived_id(type(command).context[0], command_id)
        return command.model_copy(update={type(command).subject_from: assigned})
    return command


def payload_digest(type_name: str, value: bytes) -> str:
    """16 hex digits that tell two bodies under one `ce_id` apart."""
    return blake3(type_name.encode() + b"\0" + value).hexdigest(8)
