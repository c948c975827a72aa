"""The environment of the peers (`build/peers`, made by `make peers`), and what is in it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson

PYTHON = Path(__file__).parents[2] / "build" / "peers" / "venv" / "bin" / "python"


class Unavailable(Exception):
    """A peer can't be measured here; the text says why."""


def require() -> None:
    """Raises Unavailable if there is none."""
    if not PYTHON.exists():
        raise Unavailable("the peers' environment build/peers is not there; run `make peers`")


def version(package: str) -> str:
    """Of a package that is there. Raises Unavailable."""
    require()
    program = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"
    ran = subprocess.run([str(PYTHON), "-c", program, package], capture_output=True, text=True, timeout=60, check=False)
    if ran.returncode:
        raise Unavailable(f"{package} is not in the peers' environment build/peers; run `make peers`")
    return ran.stdout.strip()


def told(
    python: Path, name: str, count: int, environment: Mapping[str, str] = MappingProxyType({}), seconds: float = 300
) -> dict[str, Any]:
    """What a peer's script (``NAME_peer.py``) prints of `count` pieces of work, run by its own Python. Raises
    Unavailable."""
    command = [str(python), str(Path(__file__).with_name(f"{name}_peer.py")), str(count)]
    own = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    try:
        ran = subprocess.run(
            command, capture_output=True, text=True, env={**own, **environment}, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"it did not end within {seconds:g} s") from None
    if ran.returncode != 0:
        raise Unavailable(f"exit {ran.returncode}: {ran.stderr.strip()[-400:]}")
    found: dict[str, Any] = orjson.loads(ran.stdout.strip().splitlines()[-1])
    return found
