"""The broker's classes as Java holds them in memory, kept beside its jars: a start maps them there instead of reading
and checking thousands of classes one by one. (Java calls it class data sharing.)

Must not know what is run. Without them a start takes longer, and is right all the same.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from forgelog.embedded.java import Java
from forgelog.embedded.process import run_through


def archive(runtime: Java, libraries: Path) -> Path:
    """Where they are, or will be. Each Java has its own, and takes no other's."""
    program = runtime.path.resolve()
    told = f"{program} {program.stat().st_mtime_ns}"
    return libraries / f"classes-{hashlib.sha256(told.encode()).hexdigest()[:12]}.jsa"


def options(runtime: Java, libraries: Path) -> list[str]:
    """What a start is told to use them, if they are there."""
    # without a word if they are of no use: the jars have changed, say
    found = archive(runtime, libraries)
    return [
        "-Xshare:auto",
        "-Xlog:cds=off,cds+dynamic=off",
        *([f"-XX:SharedArchiveFile={found}"] if found.exists() else []),
    ]


def keep(runtime: Java, libraries: Path, argv: Sequence[str], **more: Any) -> None:
    """Keep those that a program loads which ends by itself, unless that was tried before; `more` is for
    `subprocess.run`. Raises EmbeddedError when the program does not end."""
    target = archive(runtime, libraries)
    tried = target.with_suffix(".tried")  # a Java without an archive of its own classes can't make another
    if target.exists() or tried.exists() or not os.access(libraries, os.W_OK):
        return
    scratch = target.with_name(f"{target.stem}-{uuid.uuid4().hex}.part")  # another start may be doing the same
    try:
        java, *words = argv
        ran = run_through("keeping the broker's classes", [java, f"-XX:ArchiveClassesAtExit={scratch}", *words], **more)
        if ran.returncode == 0 and scratch.exists():
            os.replace(scratch, target)
        else:
            tried.touch()
    finally:
        scratch.unlink(missing_ok=True)
