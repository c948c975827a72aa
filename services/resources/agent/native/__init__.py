"""The launcher as a compiled program, built at its first use where there is a C compiler.

Kept in the user's cache folder under the digest of its source, so that every agent of a machine shares one and a new
version never runs an old one. Where it can't be built or run, the launcher in Python does the same work.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("launcher.c")
FLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra")
# Without shared libraries a fork has fewer mappings to copy; not every system has what that takes.
LINKING = (("-static",), ())
SECONDS = 60.0
"""That a compiler may take."""

log = logging.getLogger("forgelog.agent.native")


def cache_folder() -> Path:
    """Where built programs are kept. Raises RuntimeError when the user has no home."""
    given = os.environ.get("XDG_CACHE_HOME")
    return (Path(given) if given else Path.home() / ".cache") / "forgelog"


def launcher(folder: Path | None = None) -> Path | None:
    """The program, built if need be; None where that can't be done. `folder`: in place of the user's cache."""
    try:
        source = SOURCE.read_bytes()
        digest = hashlib.sha256(source + " ".join(FLAGS).encode()).hexdigest()[:16]
        built = (folder or cache_folder()) / f"launcher-{os.uname().machine}-{digest}"
        if not built.exists():
            built.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _build(built)
        owner = built.stat().st_uid
        if owner not in (0, os.getuid()):
            log.info("%s belongs to user %d; starting tasks by Python", built, owner)
            return None
        subprocess.run([built, "--check"], check=True, timeout=SECONDS, capture_output=True)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        log.info("no compiled launcher (%s); starting tasks by Python", error)
        return None
    return built


def _build(built: Path) -> None:
    """Compile to a name of its own, then rename: a reader sees a whole program or none."""
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if compiler is None:
        raise RuntimeError("there is no C compiler")
    told = ""
    with tempfile.TemporaryDirectory(dir=built.parent, prefix=".build-") as own:
        made = Path(own) / "launcher"
        for linking in LINKING:
            arguments = [compiler, *FLAGS, *linking, "-o", str(made), str(SOURCE), "-lm"]
            done = subprocess.run(arguments, check=False, timeout=SECONDS, capture_output=True, text=True)
            if done.returncode == 0:
                made.rename(built)
                return
            told = done.stderr.strip()
    raise RuntimeError(f"{compiler}: {told[-500:]}")
