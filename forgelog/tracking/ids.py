"""Ids of runs that a program makes itself, since the platform may be away."""

from __future__ import annotations

import base64
import os

DEFAULT_PROJECT = "local/default"


def new_run_id(project: str) -> str:
    """A new id, of 65 random bits, as the platform gives them; those of another project than the default one end in
    that project's ending."""
    random = base64.b32encode(os.urandom(10)).decode().lower()[:13]
    if project in ("", DEFAULT_PROJECT):
        return f"r{random}"
    from events.log.ids import id_ending  # loads pydantic

    return f"r{random}{id_ending(project)}"
