"""The environment of the peers (`build/peers`, made by `make peers`), and what is in it."""

from __future__ import annotations

import subprocess
from pathlib import Path

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
