"""Makes a virtual environment with the packages that a run had."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from forgelog.errors import ForgelogError


def make(python: str, requirements: Path, into: Path) -> Path:
    """An environment of this Python with the packages of a file, by pip; its interpreter. Raises ForgelogError, with
    pip's last words."""
    interpreter = into / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    _run([python, "-m", "venv", str(into)], "made")
    install = [str(interpreter), "-m", "pip", "install", "--disable-pip-version-check", "--no-deps", "--quiet"]
    _run([*install, "--requirement", str(requirements)], "filled")
    return interpreter


def _run(argv: list[str], done: str) -> None:
    try:
        ran = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ForgelogError(f"the environment can't be {done}: {argv[0]}: {error.strerror}") from None
    if ran.returncode:
        said = [line for line in (ran.stderr or ran.stdout).strip().splitlines() if line.strip()]
        text = "; ".join(said[-3:]) or f"{argv[0]} ended with {ran.returncode}"
        raise ForgelogError(f"the environment can't be {done}: {text[:2_000]}")
