"""Builds the C files for tests: with every warning an error, and with sanitizers."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from events.log import native as log_native
from services.resources.agent import native as agent_native

RECORDS = log_native.HERE / "_records.c"
LAUNCHER = agent_native.SOURCE
MODULE = ("-shared", "-fPIC", "-isystem", sysconfig.get_paths()["include"])
"""For `RECORDS`. Python's headers are not ours to mend, so they are the system's."""
PROGRAM = ("-std=gnu11",)
"""For `LAUNCHER`."""
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wsign-conversion", "-Wshadow", "-Wcast-qual", "-Wvla", "-Werror")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g")
"""The first thing that they object to ends the program."""
OPTIONS = str(Path(__file__).with_name("sanitizer_options.c"))
"""Is built into programs with sanitizers."""


@cache
def compiler() -> str:
    """Empty if there is none."""
    return next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), "")


def has_headers() -> bool:
    """Whether Python's own can be compiled with."""
    return (Path(sysconfig.get_paths()["include"]) / "Python.h").exists()


def build(source: Path, target: Path, flags: Sequence[str]) -> str:
    """What the compiler says against it; empty if it was built."""
    command = [compiler(), "-O1", *flags, str(source), "-o", str(target), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


def has_sanitizers(folder: Path) -> bool:
    """Whether what was built with them runs here."""
    source, program = folder / "nothing.c", folder / "nothing"
    source.write_text("int main(void) { return 0; }\n")
    return not build(source, program, SANITIZERS) and subprocess.run([program], check=False).returncode == 0
